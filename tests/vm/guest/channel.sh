#!/bin/bash
# The tests' hand inside the VM: reads one base64 script a line from the virtio port and answers with its exit code
# and its output (both streams), base64 again.
port=/dev/virtio-ports/gantry.channel
exec 3<>"$port"
echo ready >&3
while read -r line <&3; do
    output=$(mktemp)
    base64 -d <<<"$line" >"$output.sh"
    code=0
    timeout --kill-after=5 120 bash "$output.sh" </dev/null >"$output" 2>&1 3>&- || code=$?
    echo "$code $(base64 -w0 <"$output")" >&3
    rm -f "$output" "$output.sh"
done
