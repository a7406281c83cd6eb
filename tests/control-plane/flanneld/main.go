// The flannel of the tests: flannel's own leases, back ends, firewall rules and files, in the order of its own program.
// That one cannot be built everywhere: it links back ends of clouds, one of which needs a module that not every proxy has.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"
)

const (
	// Where its manifest mounts the ConfigMap.
	configuration = "/etc/kube-flannel/net-conf.json"
	// Where its CNI plugin looks for the node's subnet.
	subnetFile = "/run/flannel/subnet.env"
	// The prefix of the Node's annotations that are its leases.
	annotations = "flannel.alpha.coreos.com"
	// How often it sees that its firewall rules are there, in seconds.
	resync = 5
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	leases, err := kube.NewSubnetManager(ctx, "", "", annotations, configuration, true)
	if err != nil {
		return err
	}
	config, err := leases.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return err
	}
	uplink, err := ipmatch.LookupExtIface("", "", "", family, ipmatch.PublicIPOpts{})
	if err != nil {
		return err
	}
	kind, err := backend.NewManager(ctx, leases, uplink).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	network, err := kind.RegisterNetwork(ctx, &running, config)
	if err != nil {
		return err
	}
	lease := network.Lease()
	var firewall iptables.IPTablesManager
	if err := firewall.Init(ctx); err != nil {
		return err
	}
	err = firewall.SetupAndEnsureMasqRules(ctx, config.Network, ip.IP4Net{}, ip.IP4Net{},
		config.IPv6Network, ip.IP6Net{}, ip.IP6Net{}, lease, resync, false)
	if err != nil {
		return err
	}
	firewall.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resync)
	if err := leases.HandleSubnetFile(subnetFile, config, true, lease.Subnet, lease.IPv6Subnet, network.MTU()); err != nil {
		return err
	}
	running.Go(func() { network.Run(ctx) })
	if err := leases.CompleteLease(ctx, lease, &running); err != nil {
		return err
	}
	running.Wait()
	return nil
}
