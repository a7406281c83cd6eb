// Program judge says of manifests what the kubelet v1.36 would do with them as static pods. It calls the kubelet's own
// function, so there is no second opinion here.
//
//	judge NODE-NAME PATH
//
// From stdin it reads manifests, each after a line with its length in bytes. For each it prints one line of JSON: the
// error of the kubelet, or the pod as the kubelet would run it, defaults applied. PATH is the file that all of them are
// said to be in: it is part of a pod's UID.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	_ "unsafe" // for go:linkname

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/capabilities"
	_ "k8s.io/kubernetes/pkg/kubelet/config"
)

// The function that reads a file of the manifests directory (pkg/kubelet/config/common.go).
//
//go:linkname tryDecodeSinglePod k8s.io/kubernetes/pkg/kubelet/config.tryDecodeSinglePod
func tryDecodeSinglePod(logger klog.Logger, data []byte, defaultFn func(klog.Logger, *api.Pod) error) (bool, *v1.Pod, error)

//go:linkname applyDefaults k8s.io/kubernetes/pkg/kubelet/config.applyDefaults
func applyDefaults(logger klog.Logger, pod *api.Pod, source string, isFile bool, nodeName types.NodeName) error

type verdict struct {
	Error string  `json:"error,omitempty"`
	Panic string  `json:"panic,omitempty"`
	Pod   *v1.Pod `json:"pod,omitempty"`
	// Whether the manifest has what only an API server writes and what does not show in Pod; the UID is made of it too.
	OfServer bool `json:"ofServer,omitempty"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: judge NODE-NAME PATH")
		os.Exit(2)
	}
	// As the kubelet does when it starts (cmd/kubelet/app/server.go).
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true})
	if err := run(os.Args[1], os.Args[2], bufio.NewReaderSize(os.Stdin, 1<<20), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

func run(node, path string, in *bufio.Reader, to io.Writer) error {
	out := bufio.NewWriter(to)
	answers := json.NewEncoder(out)
	for {
		manifest, err := next(in)
		if err == io.EOF {
			return out.Flush()
		}
		if err != nil {
			return err
		}
		if err := answers.Encode(judge(manifest, node, path)); err != nil {
			return err
		}
		// The other side may wait for this answer before it writes the next manifest.
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

func next(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		if err == io.EOF && line != "" {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	length, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || length < 0 {
		return nil, fmt.Errorf("%q is no length", line)
	}
	manifest := make([]byte, length)
	_, err = io.ReadFull(in, manifest)
	return manifest, err
}

func judge(manifest []byte, node, path string) (v verdict) {
	defer func() {
		if caught := recover(); caught != nil {
			v = verdict{Panic: fmt.Sprint(caught)}
		}
	}()
	ofServer := false
	defaults := func(logger klog.Logger, pod *api.Pod) error {
		ofServer = pod.ManagedFields != nil || !reflect.DeepEqual(pod.Status, api.PodStatus{})
		return applyDefaults(logger, pod, path, true, types.NodeName(node))
	}
	_, pod, err := tryDecodeSinglePod(klog.Background(), manifest, defaults)
	if err != nil {
		return verdict{Error: err.Error()}
	}
	return verdict{Pod: pod, OfServer: ofServer}
}
