package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What is known of a volume or a snapshot: meta.json beside its data.
type volume struct {
	Id       string   `json:"id"`
	Name     string   `json:"name"`
	Capacity int64    `json:"capacity"`
	Block    bool     `json:"block"`
	Source   string   `json:"source"`
	Attached []string `json:"attached"`
	// Where it was published to.
	Published []string `json:"published"`
	Created   int64    `json:"created"`
	// Inline volumes are gone with their pod.
	Ephemeral bool `json:"ephemeral"`
}

// An identity that follows from a name, so that the same request makes nothing twice.
func idOf(kind, name string) string {
	return fmt.Sprintf("%s-%x", kind, sha256.Sum256([]byte(name)))[:len(kind)+17]
}

func (d *driver) place(kind, id string) (string, error) {
	if id == "" || id != filepath.Base(id) || strings.HasPrefix(id, ".") {
		return "", status.Errorf(codes.NotFound, "there is no %s %q", kind, id)
	}
	return filepath.Join(d.state, kind+"s", id), nil
}

// Where the data of a volume are: a directory, or the image of a block device. The name of an image tells the volume,
// since it is all that is left in the kernel's table of loop devices.
func (d *driver) data(v *volume) string {
	if v.Block {
		return filepath.Join(d.state, "volumes", v.Id, v.Id+".img")
	}
	return filepath.Join(d.state, "volumes", v.Id, "data")
}

func (d *driver) load(kind, id string) (*volume, error) {
	place, err := d.place(kind, id)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(place, "meta.json"))
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "there is no %s %q", kind, id)
	}
	v := &volume{}
	if err := json.Unmarshal(text, v); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return v, nil
}

func (d *driver) save(kind string, v *volume) error {
	place, err := d.place(kind, v.Id)
	if err != nil {
		return err
	}
	text, _ := json.Marshal(v)
	file := filepath.Join(place, "meta.json")
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := os.Rename(file+".new", file); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// Every volume, or every snapshot.
func (d *driver) all(kind string) []*volume {
	entries, _ := os.ReadDir(filepath.Join(d.state, kind+"s"))
	var found []*volume
	for _, entry := range entries {
		if v, err := d.load(kind, entry.Name()); err == nil {
			found = append(found, v)
		}
	}
	return found
}

// Makes the data of a new volume, from a copy where there is one.
func (d *driver) make(v *volume, from string) error {
	place := filepath.Join(d.state, "volumes", v.Id)
	if err := os.MkdirAll(place, 0o755); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	data := d.data(v)
	if from != "" {
		if err := copyOf(from, data); err != nil {
			return err
		}
	} else if !v.Block {
		if err := os.MkdirAll(data, 0o755); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
	if v.Block {
		if err := size(data, v.Capacity); err != nil {
			return err
		}
	}
	return d.save("volume", v)
}

func size(image string, bytes int64) error {
	file, err := os.OpenFile(image, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	defer file.Close()
	if err := file.Truncate(bytes); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

func copyOf(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	_, err := command("cp", "-a", from, to)
	return err
}

// Runs a program that has to succeed, for what it prints.
func command(words ...string) (string, error) {
	output, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return "", status.Errorf(codes.Internal, "%s: %v: %s", strings.Join(words, " "), err, output)
	}
	return strings.TrimSpace(string(output)), nil
}
