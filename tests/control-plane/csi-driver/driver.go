package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// The driver. One call at a time changes anything, as in csi-driver-host-path.
type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
	settings
	changing sync.Mutex
	writing  sync.Mutex
}

// One line of the log for each call that was answered.
type line struct {
	At      string          `json:"at"`
	Call    string          `json:"call"`
	Request json.RawMessage `json:"request,omitempty"`
	Error   string          `json:"error,omitempty"`
}

func (d *driver) write(call string, request proto.Message, err error) {
	said := line{At: time.Now().UTC().Format("15:04:05.000"), Call: call}
	if request != nil {
		// protojson varies its spaces, so that nobody compares its text; as a part of this line it has none.
		said.Request, _ = protojson.MarshalOptions{UseProtoNames: true}.Marshal(request)
	}
	if err != nil {
		said.Error = err.Error()
	}
	text, _ := json.Marshal(said)
	d.writing.Lock()
	defer d.writing.Unlock()
	fmt.Println(string(text))
}

// Stands before every call.
func (d *driver) observe(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
) (any, error) {
	call := path.Base(info.FullMethod)
	var answer any
	err := d.hinder(ctx, call, request)
	if err == nil {
		answer, err = handle(ctx, request)
	}
	if err == nil {
		err = d.hinder(ctx, "after-"+call, request)
	}
	message, _ := request.(proto.Message)
	d.write(call, message, err)
	return answer, err
}

// Does to a call what a story has asked for, of all volumes or of this one.
func (d *driver) hinder(ctx context.Context, call string, request any) error {
	names := []string{call}
	if about, ok := request.(interface{ GetVolumeId() string }); ok {
		names = append(names, call+"@"+about.GetVolumeId())
	}
	for _, name := range names {
		if err := d.hinderAs(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) hinderAs(ctx context.Context, call string) error {
	waiting := filepath.Join(d.state, "waiting", call)
	defer os.Remove(waiting)
	for {
		if _, err := os.Stat(filepath.Join(d.state, "hang", call)); err != nil {
			break
		}
		if err := os.WriteFile(waiting, nil, 0o600); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	text, err := os.ReadFile(filepath.Join(d.state, "fail", call))
	if err != nil {
		return nil
	}
	name, message, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(`"` + asConstant(name) + `"`)); err != nil {
		code = codes.Internal
	}
	return status.Error(code, message)
}

// "FailedPrecondition" as gRPC spells it in JSON: "FAILED_PRECONDITION".
func asConstant(name string) string {
	var out strings.Builder
	for i, letter := range name {
		if i > 0 && letter >= 'A' && letter <= 'Z' {
			out.WriteByte('_')
		}
		out.WriteRune(letter)
	}
	return strings.ToUpper(out.String())
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: d.name, VendorVersion: "1"}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	services := []csi.PluginCapability_Service_Type{csi.PluginCapability_Service_CONTROLLER_SERVICE}
	if d.topology {
		services = append(services, csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS)
	}
	var all []*csi.PluginCapability
	for _, service := range services {
		all = append(all, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{
			Service: &csi.PluginCapability_Service{Type: service},
		}})
	}
	all = append(all, &csi.PluginCapability{Type: &csi.PluginCapability_VolumeExpansion_{
		VolumeExpansion: &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE},
	}})
	return &csi.GetPluginCapabilitiesResponse{Capabilities: all}, nil
}

// Where the volumes of this driver can be reached from.
func (d *driver) here() *csi.Topology {
	return &csi.Topology{Segments: map[string]string{"topology." + d.name + "/node": d.node}}
}
