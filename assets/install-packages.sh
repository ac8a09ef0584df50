# Installs packages on a node, and lets the installation start none of the units that Backstay starts there (C9).
[ "$(id -u)" = 0 ] || { echo 'the SSH user is not root' >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
masked=
for unit in UNITS; do
    # One that is masked already stays so.
    [ -L "/run/systemd/system/$unit" ] && continue
    systemctl mask --runtime --quiet -- "$unit" && masked="$masked $unit"
done
log=$(mktemp) || exit 1
over() {
    rm -f "$log"
    [ -z "$masked" ] || systemctl unmask --runtime --quiet -- $masked
}
trap over EXIT
trap 'exit 1' HUP INT PIPE TERM
# What an admin has changed of the configuration stays.
apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=60 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold PACKAGES </dev/null >"$log" 2>&1
status=$?
tail -c 4096 "$log"
exit $status
