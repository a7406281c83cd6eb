package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	answer := &csi.NodeGetInfoResponse{NodeId: d.node, MaxVolumesPerNode: d.maxVolumes}
	// A test changes it while the driver runs.
	if text, err := os.ReadFile(filepath.Join(d.state, "max-volumes")); err == nil {
		most, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		answer.MaxVolumesPerNode = most
	}
	if d.topology {
		answer.AccessibleTopology = d.here()
	}
	return answer, nil
}

func (d *driver) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	kinds := []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if d.mountGroup {
		kinds = append(kinds, csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP)
	}
	answer := &csi.NodeGetCapabilitiesResponse{}
	for _, kind := range kinds {
		answer.Capabilities = append(answer.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}},
		})
	}
	return answer, nil
}

// A volume that is staged is mounted below the node's directory once, whoever uses it.
func (d *driver) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if r.VolumeId == "" || r.StagingTargetPath == "" || r.VolumeCapability == nil {
		return nil, status.Error(codes.InvalidArgument, "a volume, a path and a capability are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	v, err := d.load("volume", r.VolumeId)
	if err != nil {
		return nil, err
	}
	if d.attaches && r.PublishContext["attachedTo"] != d.node {
		return nil, status.Error(codes.FailedPrecondition, "the volume is not attached to this node")
	}
	if v.Block {
		_, err := d.device(v)
		return &csi.NodeStageVolumeResponse{}, err
	}
	if mount := r.VolumeCapability.GetMount(); mount != nil && mount.VolumeMountGroup != "" {
		if err := giveTo(d.data(v), mount.VolumeMountGroup); err != nil {
			return nil, err
		}
	}
	return &csi.NodeStageVolumeResponse{}, bind(d.data(v), r.StagingTargetPath, false)
}

func (d *driver) NodeUnstageVolume(
	_ context.Context, r *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	if r.VolumeId == "" || r.StagingTargetPath == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume and a path are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	if v, err := d.load("volume", r.VolumeId); err == nil && v.Block {
		return &csi.NodeUnstageVolumeResponse{}, d.detach(v)
	}
	return &csi.NodeUnstageVolumeResponse{}, unmount(r.StagingTargetPath)
}

func (d *driver) NodePublishVolume(
	_ context.Context, r *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	if r.VolumeId == "" || r.TargetPath == "" || r.VolumeCapability == nil {
		return nil, status.Error(codes.InvalidArgument, "a volume, a path and a capability are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	v, err := d.load("volume", r.VolumeId)
	if err != nil && r.VolumeContext["csi.storage.k8s.io/ephemeral"] == "true" {
		v = &volume{Id: r.VolumeId, Name: r.VolumeId, Capacity: usualCapacity, Ephemeral: true}
		err = d.make(v, "")
	}
	if err != nil {
		return nil, err
	}
	if err := d.publish(v, r); err != nil {
		return nil, err
	}
	if v.Block {
		device, err := d.device(v)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(r.TargetPath), 0o750); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		file, err := os.OpenFile(r.TargetPath, os.O_CREATE, 0o660)
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		file.Close()
		return &csi.NodePublishVolumeResponse{}, bind(device, r.TargetPath, r.Readonly)
	}
	from := r.StagingTargetPath
	if v.Ephemeral {
		from = d.data(v)
	} else if from == "" {
		return nil, status.Error(codes.FailedPrecondition, "the volume is not staged")
	} else if !isMounted(from) {
		return nil, status.Error(codes.FailedPrecondition, "nothing is staged at "+from)
	}
	if err := os.Mkdir(r.TargetPath, 0o750); err != nil && !os.IsExist(err) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodePublishVolumeResponse{}, bind(from, r.TargetPath, r.Readonly)
}

// Records where a volume is published to; one for a single pod is so at one place.
func (d *driver) publish(v *volume, r *csi.NodePublishVolumeRequest) error {
	v.Published = slices.DeleteFunc(v.Published, func(path string) bool { return !isMounted(path) || path == r.TargetPath })
	mode := r.VolumeCapability.GetAccessMode().GetMode()
	if mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER && len(v.Published) > 0 {
		return status.Errorf(codes.FailedPrecondition, "the volume is published at %s", v.Published[0])
	}
	v.Published = append(v.Published, r.TargetPath)
	return d.save("volume", v)
}

func (d *driver) NodeUnpublishVolume(
	_ context.Context, r *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if r.VolumeId == "" || r.TargetPath == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume and a path are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	if err := unmount(r.TargetPath); err != nil {
		return nil, err
	}
	if err := os.Remove(r.TargetPath); err != nil && !os.IsNotExist(err) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if v, err := d.load("volume", r.VolumeId); err == nil && v.Ephemeral {
		if err := os.RemoveAll(filepath.Join(d.state, "volumes", v.Id)); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (d *driver) NodeExpandVolume(
	_ context.Context, r *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	if r.VolumeId == "" || r.VolumePath == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume and a path are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	v, err := d.load("volume", r.VolumeId)
	if err != nil {
		return nil, err
	}
	if v.Block {
		device, err := d.device(v)
		if err != nil {
			return nil, err
		}
		if _, err := command("losetup", "--set-capacity", device); err != nil {
			return nil, err
		}
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: v.Capacity}, nil
}

// A file system's numbers are those of the volume alone, so that they can be foretold.
func (d *driver) NodeGetVolumeStats(
	_ context.Context, r *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	if r.VolumeId == "" || r.VolumePath == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume and a path are needed")
	}
	v, err := d.load("volume", r.VolumeId)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(r.VolumePath); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	bytes := &csi.VolumeUsage{Unit: csi.VolumeUsage_BYTES, Total: v.Capacity}
	if v.Block {
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{bytes}}, nil
	}
	files := &csi.VolumeUsage{Unit: csi.VolumeUsage_INODES, Total: 1000}
	filepath.WalkDir(d.data(v), func(_ string, entry fs.DirEntry, err error) error {
		if info, failed := entry.Info(); err == nil && failed == nil && !info.IsDir() {
			bytes.Used += info.Size()
			files.Used++
		}
		return nil
	})
	bytes.Available, files.Available = bytes.Total-bytes.Used, files.Total-files.Used
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{bytes, files}}, nil
}

func giveTo(directory, group string) error {
	if _, err := command("chgrp", "-R", group, directory); err != nil {
		return err
	}
	_, err := command("chmod", "-R", "g+rwX", directory)
	return err
}

func isMounted(path string) bool {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(table), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == path {
			return true
		}
	}
	return false
}

// Mounts once, however often it is asked to.
func bind(from, to string, readOnly bool) error {
	if isMounted(to) {
		return nil
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return status.Errorf(codes.Internal, "mount %s at %s: %v", from, to, err)
	}
	if readOnly {
		if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return status.Errorf(codes.Internal, "mount %s read-only: %v", to, err)
		}
	}
	return nil
}

func unmount(path string) error {
	for isMounted(path) {
		if err := unix.Unmount(path, 0); err != nil {
			return status.Errorf(codes.Internal, "unmount %s: %v", path, err)
		}
	}
	return nil
}

// The loop device of an image, attached where it is not yet.
func (d *driver) device(v *volume) (string, error) {
	name, err := command("losetup", "--noheadings", "--output", "NAME", "--associated", d.data(v))
	if err != nil || name != "" {
		return name, err
	}
	return command("losetup", "--find", "--show", d.data(v))
}

func (d *driver) detach(v *volume) error {
	name, err := command("losetup", "--noheadings", "--output", "NAME", "--associated", d.data(v))
	if err != nil || name == "" {
		return err
	}
	_, err = command("losetup", "--detach", name)
	return err
}
