// The functions that main.go declares without a body are linked from the kubelet.
