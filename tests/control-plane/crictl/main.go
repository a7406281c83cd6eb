// Program crictl answers the few calls that parity.py makes of the program of that name: pods, ps, inspect, inspectp,
// logs and exec -s, with the same arguments and, in the fields parity.py reads, the same JSON. It speaks CRI v1 to the runtime itself.
//
//	crictl -r unix:///run/containerd/containerd.sock pods --label K=V -o json
//	crictl -r … ps [-a] --label K=V -o json
//	crictl -r … inspect|inspectp|logs ID
//	crictl -r … exec -s ID CMD…
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 || args[0] != "-r" {
		return fmt.Errorf("usage: crictl -r ENDPOINT pods|ps|inspect|inspectp|exec …")
	}
	conn, err := grpc.NewClient(args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	rt := cri.NewRuntimeServiceClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	verb, rest := args[2], args[3:]
	switch verb {
	case "pods":
		r, err := rt.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{LabelSelector: labels(rest)}})
		if err != nil {
			return err
		}
		return show(r)
	case "ps":
		f := &cri.ContainerFilter{LabelSelector: labels(rest)}
		if !has(rest, "-a") {
			f.State = &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}
		}
		r, err := rt.ListContainers(ctx, &cri.ListContainersRequest{Filter: f})
		if err != nil {
			return err
		}
		// The runtime lists in no order; who takes the first of a name means the newest.
		slices.SortFunc(r.Containers, func(a, b *cri.Container) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
		return show(r)
	case "inspectp":
		r, err := rt.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: first(rest), Verbose: true})
		if err != nil {
			return err
		}
		return verbose(r.Status, r.Info)
	case "inspect":
		r, err := rt.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: first(rest), Verbose: true})
		if err != nil {
			return err
		}
		return verbose(r.Status, r.Info)
	case "exec":
		if len(rest) < 3 || rest[0] != "-s" {
			return fmt.Errorf("exec needs -s ID CMD…")
		}
		r, err := rt.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: rest[1], Cmd: rest[2:], Timeout: 50})
		if err != nil {
			return err
		}
		os.Stdout.Write(r.Stdout)
		os.Stderr.Write(r.Stderr)
		if r.ExitCode != 0 {
			return fmt.Errorf("exit code %d", r.ExitCode)
		}
		return nil
	}
	if verb == "logs" {
		r, err := rt.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: first(rest)})
		if err != nil {
			return err
		}
		text, err := os.ReadFile(r.Status.LogPath)
		for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
			if f := strings.SplitN(line, " ", 4); len(f) == 4 { // time, stream, F or P, the text
				fmt.Println(f[3])
			}
		}
		return err
	}
	return fmt.Errorf("unknown command %q", verb)
}

// labels reads every "--label K=V".
func labels(args []string) map[string]string {
	out := map[string]string{}
	for i, a := range args {
		if a == "--label" && i+1 < len(args) {
			k, v, _ := strings.Cut(args[i+1], "=")
			out[k] = v
		}
	}
	return out
}

func has(args []string, flag string) bool {
	for _, a := range args {
		if a == flag {
			return true
		}
	}
	return false
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// show prints a message as crictl does: camel case, enumerations by name, 64-bit numbers as text.
func show(m proto.Message) error {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	fmt.Println(string(b))
	return err
}

// verbose prints a status beside the JSON that containerd puts under "info" of a verbose answer.
func verbose(status proto.Message, info map[string]string) error {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(status)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]json.RawMessage{"status": b, "info": json.RawMessage(info["info"])})
}
