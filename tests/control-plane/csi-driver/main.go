// A CSI driver for the stories about volumes: its volumes are directories and image files below one directory. It
// registers itself with the kubelet as node-driver-registrar does, logs every call with its whole request, and fails or
// delays calls as a story asks.
//
// It is started for each name with a directory of its own. Files below that directory steer it while it runs:
// fail/CALL has the call answered with the code and message in it ("Unavailable not today"), hang/CALL has it wait
// until the file is gone, and waiting/CALL is there meanwhile; CALL@VOLUME is about one volume, and with after-CALL it
// happens once the call has taken effect.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// What the command line says.
type settings struct {
	name       string
	node       string
	socket     string
	registry   string
	state      string
	attaches   bool
	mountGroup bool
	topology   bool
	maxVolumes int64
}

func main() {
	var s settings
	flag.StringVar(&s.name, "name", "", "the driver's name")
	flag.StringVar(&s.node, "node", "", "what NodeGetInfo calls the node")
	flag.StringVar(&s.socket, "socket", "", "where the driver listens")
	flag.StringVar(&s.registry, "registry", "", "the kubelet's directory of plugins to register; none: it does not register")
	flag.StringVar(&s.state, "state", "", "where the volumes are")
	flag.BoolVar(&s.attaches, "attaches", false, "have volumes attached to a node before they are staged")
	flag.BoolVar(&s.mountGroup, "mount-group", false, "give volumes to the pod's fsGroup (VOLUME_MOUNT_GROUP)")
	flag.BoolVar(&s.topology, "topology", true, "volumes can be reached from this node alone")
	flag.Int64Var(&s.maxVolumes, "max-volumes", 0, "how many volumes the node takes; 0: no limit is told")
	flag.Parse()
	if err := run(s); err != nil {
		log.Fatal(err)
	}
}

func run(s settings) error {
	// What waited when a former driver was killed waits no more.
	if err := os.RemoveAll(filepath.Join(s.state, "waiting")); err != nil {
		return err
	}
	for _, directory := range []string{"volumes", "snapshots", "fail", "hang", "waiting"} {
		if err := os.MkdirAll(filepath.Join(s.state, directory), 0o755); err != nil {
			return err
		}
	}
	d := &driver{settings: s}
	server := grpc.NewServer(grpc.UnaryInterceptor(d.observe))
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	sockets := []string{s.socket}
	failed := make(chan error, 2)
	if err := serve(server, s.socket, failed); err != nil {
		return err
	}
	if s.registry != "" {
		registrar := grpc.NewServer()
		registration.RegisterRegistrationServer(registrar, d)
		socket := filepath.Join(s.registry, s.name+"-reg.sock")
		sockets = append(sockets, socket)
		if err := serve(registrar, socket, failed); err != nil {
			return err
		}
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	defer func() {
		for _, socket := range sockets {
			os.Remove(socket)
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-asked:
		return nil
	}
}

// Listens on a socket, in place of one that a killed driver has left.
func serve(server *grpc.Server, socket string, failed chan<- error) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() { failed <- server.Serve(listener) }()
	return nil
}

// What node-driver-registrar answers.
func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	d.write("GetInfo", nil, nil)
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              d.name,
		Endpoint:          d.socket,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (d *driver) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	var err error
	if !status.PluginRegistered {
		err = fmt.Errorf("%s", status.Error)
	}
	d.write("NotifyRegistrationStatus", nil, err)
	return &registration.RegistrationStatusResponse{}, nil
}
