#!/bin/bash
# A Docker engine of its own, for as long as standard input stays open. Prints "ready" once it
# answers on $ENGINE_DIR/docker.sock.
#
# It has network, mount and process namespaces of its own: its bridges and firewall rules are not
# the machine's, it reaches nothing outside, and whatever is left of it ends with this script.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  export CGROUP="/proglog-engine-$$"
  status=0
  unshare --net --mount --pid --fork --mount-proc --kill-child "$0" --inside || status=$?
  for _ in $(seq 50); do # the last processes may need a moment to go
    find /sys/fs/cgroup/*"$CGROUP" "/sys/fs/cgroup$CGROUP" -depth -type d -exec rmdir {} + \
      2>/dev/null || true
    compgen -G "/sys/fs/cgroup/*$CGROUP" >/dev/null || [ -d "/sys/fs/cgroup$CGROUP" ] || break
    sleep 0.1
  done
  exit "$status"
fi

ip link set lo up
for directory in /etc/docker /run/docker /run/containerd; do
  mkdir -p "$directory"
  mount -t tmpfs none "$directory"
done
export DOCKER_HOST="unix://$ENGINE_DIR/docker.sock"
dockerd --host "$DOCKER_HOST" --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/exec" \
  --pidfile "$ENGINE_DIR/pid" --cgroup-parent "$CGROUP" --log-level warn \
  </dev/null >"$ENGINE_DIR/dockerd.log" 2>&1 &
engine=$!
for _ in $(seq 300); do
  if docker info >/dev/null 2>&1; then break; fi
  kill -0 "$engine" || { tail -n 20 "$ENGINE_DIR/dockerd.log" >&2; exit 1; }
  sleep 0.1
done
docker info >/dev/null
echo ready
cat >/dev/null
docker ps -aq | xargs -r docker rm -f -v >/dev/null 2>&1 || true
kill -TERM "$engine"
wait "$engine" || true
