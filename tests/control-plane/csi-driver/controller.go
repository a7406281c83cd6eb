package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// What a volume has if nobody says more.
	usualCapacity = 1 << 20
	// What is more than this driver gives.
	largestCapacity = 1 << 40
)

func (d *driver) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	kinds := []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	}
	if d.attaches {
		kinds = append(kinds, csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME)
	}
	answer := &csi.ControllerGetCapabilitiesResponse{}
	for _, kind := range kinds {
		answer.Capabilities = append(answer.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		})
	}
	return answer, nil
}

func (d *driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.Name == "" || len(r.VolumeCapabilities) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a name and capabilities are needed")
	}
	capacity, limit := r.CapacityRange.GetRequiredBytes(), r.CapacityRange.GetLimitBytes()
	if capacity == 0 {
		capacity = usualCapacity
	}
	if capacity > largestCapacity {
		return nil, status.Error(codes.OutOfRange, "this driver has no such volumes")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	id := idOf("volume", r.Name)
	v, err := d.load("volume", id)
	if err == nil && (v.Capacity < capacity || limit > 0 && v.Capacity > limit) {
		return nil, status.Error(codes.AlreadyExists, "the volume is there with another capacity")
	}
	if err != nil {
		block := slices.ContainsFunc(r.VolumeCapabilities, func(c *csi.VolumeCapability) bool { return c.GetBlock() != nil })
		v = &volume{Id: id, Name: r.Name, Capacity: capacity, Block: block}
		from, err := d.source(r.VolumeContentSource)
		if err != nil {
			return nil, err
		}
		if err := d.make(v, from); err != nil {
			return nil, err
		}
	}
	answer := &csi.Volume{
		VolumeId: v.Id, CapacityBytes: v.Capacity, ContentSource: r.VolumeContentSource,
		VolumeContext: map[string]string{"madeFor": r.Name},
	}
	if d.topology {
		answer.AccessibleTopology = []*csi.Topology{d.here()}
	}
	return &csi.CreateVolumeResponse{Volume: answer}, nil
}

// The data that a new volume begins with: "" for none.
func (d *driver) source(content *csi.VolumeContentSource) (string, error) {
	if snapshot := content.GetSnapshot(); snapshot != nil {
		s, err := d.load("snapshot", snapshot.SnapshotId)
		if err != nil {
			return "", err
		}
		return filepath.Join(d.state, "snapshots", s.Id, "data"), nil
	}
	if from := content.GetVolume(); from != nil {
		v, err := d.load("volume", from.VolumeId)
		if err != nil {
			return "", err
		}
		return d.data(v), nil
	}
	return "", nil
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.VolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume is needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	v, err := d.load("volume", r.VolumeId)
	if err != nil {
		return &csi.DeleteVolumeResponse{}, nil
	}
	if len(v.Attached) > 0 {
		return nil, status.Error(codes.FailedPrecondition, "the volume is attached")
	}
	if err := os.RemoveAll(filepath.Join(d.state, "volumes", v.Id)); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (d *driver) ValidateVolumeCapabilities(
	_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if r.VolumeId == "" || len(r.VolumeCapabilities) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a volume and capabilities are needed")
	}
	if _, err := d.load("volume", r.VolumeId); err != nil {
		return nil, err
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.VolumeCapabilities},
	}, nil
}

func (d *driver) ControllerPublishVolume(
	_ context.Context, r *csi.ControllerPublishVolumeRequest,
) (*csi.ControllerPublishVolumeResponse, error) {
	if r.VolumeId == "" || r.NodeId == "" || r.VolumeCapability == nil {
		return nil, status.Error(codes.InvalidArgument, "a volume, a node and a capability are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	v, err := d.load("volume", r.VolumeId)
	if err != nil {
		return nil, err
	}
	if r.NodeId != d.node {
		return nil, status.Errorf(codes.NotFound, "there is no node %q", r.NodeId)
	}
	if !slices.Contains(v.Attached, r.NodeId) {
		v.Attached = append(v.Attached, r.NodeId)
	}
	return &csi.ControllerPublishVolumeResponse{
		PublishContext: map[string]string{"attachedTo": r.NodeId},
	}, d.save("volume", v)
}

func (d *driver) ControllerUnpublishVolume(
	_ context.Context, r *csi.ControllerUnpublishVolumeRequest,
) (*csi.ControllerUnpublishVolumeResponse, error) {
	if r.VolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume is needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	v, err := d.load("volume", r.VolumeId)
	if err != nil {
		return &csi.ControllerUnpublishVolumeResponse{}, nil
	}
	v.Attached = slices.DeleteFunc(v.Attached, func(node string) bool { return node == r.NodeId })
	return &csi.ControllerUnpublishVolumeResponse{}, d.save("volume", v)
}

func (d *driver) ControllerExpandVolume(
	_ context.Context, r *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	if r.VolumeId == "" || r.CapacityRange == nil {
		return nil, status.Error(codes.InvalidArgument, "a volume and a capacity are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	v, err := d.load("volume", r.VolumeId)
	if err != nil {
		return nil, err
	}
	v.Capacity = max(v.Capacity, r.CapacityRange.RequiredBytes)
	if v.Block {
		if err := size(d.data(v), v.Capacity); err != nil {
			return nil, err
		}
	}
	return &csi.ControllerExpandVolumeResponse{
		CapacityBytes: v.Capacity, NodeExpansionRequired: true,
	}, d.save("volume", v)
}

func (d *driver) CreateSnapshot(_ context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if r.Name == "" || r.SourceVolumeId == "" {
		return nil, status.Error(codes.InvalidArgument, "a name and a volume are needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	id := idOf("snapshot", r.Name)
	s, err := d.load("snapshot", id)
	if err == nil && s.Source != r.SourceVolumeId {
		return nil, status.Error(codes.AlreadyExists, "the snapshot is there of another volume")
	}
	if err != nil {
		v, err := d.load("volume", r.SourceVolumeId)
		if err != nil {
			return nil, err
		}
		s = &volume{Id: id, Name: r.Name, Capacity: v.Capacity, Block: v.Block, Source: v.Id, Created: time.Now().UnixNano()}
		place := filepath.Join(d.state, "snapshots", id)
		if err := os.MkdirAll(place, 0o755); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		if err := copyOf(d.data(v), filepath.Join(place, "data")); err != nil {
			return nil, err
		}
		if err := d.save("snapshot", s); err != nil {
			return nil, err
		}
	}
	return &csi.CreateSnapshotResponse{Snapshot: asSnapshot(s)}, nil
}

func asSnapshot(s *volume) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: s.Id, SourceVolumeId: s.Source, SizeBytes: s.Capacity, ReadyToUse: true,
		CreationTime: timestamppb.New(time.Unix(0, s.Created)),
	}
}

func (d *driver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.SnapshotId == "" {
		return nil, status.Error(codes.InvalidArgument, "a snapshot is needed")
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	if s, err := d.load("snapshot", r.SnapshotId); err == nil {
		if err := os.RemoveAll(filepath.Join(d.state, "snapshots", s.Id)); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

func (d *driver) ListSnapshots(_ context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	begin := 0
	if r.StartingToken != "" {
		parsed, err := strconv.Atoi(r.StartingToken)
		if err != nil {
			return nil, status.Error(codes.Aborted, "this is no token of this driver")
		}
		begin = parsed
	}
	answer := &csi.ListSnapshotsResponse{}
	var found []*volume
	for _, s := range d.all("snapshot") {
		if (r.SnapshotId == "" || s.Id == r.SnapshotId) && (r.SourceVolumeId == "" || s.Source == r.SourceVolumeId) {
			found = append(found, s)
		}
	}
	for i, s := range found[min(begin, len(found)):] {
		if r.MaxEntries > 0 && i == int(r.MaxEntries) {
			answer.NextToken = strconv.Itoa(begin + i)
			break
		}
		answer.Entries = append(answer.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: asSnapshot(s)})
	}
	return answer, nil
}
