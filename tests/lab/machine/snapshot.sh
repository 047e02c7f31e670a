# Prints the state of the machine, in sections that begin with "== NAME". Volatile things (counters, leases, logs, run-time
# state of libvirt, the journal, configuration and lease of wiab itself) are left out.
section() { echo "== $1"; }

section packages
dpkg-query -W -f '${Package} ${Version} ${Status}\n'

section networks
for n in $(virsh net-list --all --name | sort); do
  virsh net-dumpxml --inactive "$n"
  virsh net-info "$n" | grep -E '^(Active|Persistent|Autostart|Bridge)'
  virsh net-list --name | grep -q -x "$n" && virsh net-dumpxml "$n"
done

section domains
for d in $(virsh list --all --name | sort); do
  virsh domstate "$d"
  virsh dominfo "$d" | grep -E '^(Autostart|Persistent)'
  virsh dumpxml --inactive "$d"
done

section pools
for p in $(virsh pool-list --all --name | sort); do virsh pool-dumpxml "$p" | grep -v -E '<(capacity|allocation|available)'; done

section pool-files
(cd /var/lib/libvirt/images && find . -printf '%P %y %m %u:%g\n' | sort
 # A running disk changes by itself; everything else must not.
 find . -type f ! -user libvirt-qemu -exec sha256sum {} + | sort -k 2)

section firewall
nft list ruleset

section sysctls
sysctl -a 2>/dev/null | grep -E '^net\.(ipv4\.ip_forward|ipv[46]\.conf\.(all|default|eth0|lo)\.(forwarding|rp_filter)|bridge\.)'

section links
ls /sys/class/net

section addresses
ip -o -4 addr show | awk '{ print $2, $4 }'
ip route show | sed "s, linkdown,,; s, *$,,"

section services
systemctl list-unit-files --type=service,socket --no-legend --plain | awk '{ print $1, $2 }'

section accounts
getent passwd
getent group
getfacl -p /home/demo /root 2>/dev/null

section docker
docker image ls --all --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort
docker ps --all --format '{{.Names}} {{.Image}}' | sort

section programs
pgrep -c qemu-system || :
pgrep -f -c 'dnsmasq.*conf-file' || :

section etc-files
# The shadow tools leave a copy of each account file as it was before their last change.
find /etc -xdev \( -path /etc/libvirt/qemu -o -path '/etc/*-' \) -prune -o -type f -exec sha256sum {} + | sort -k 2

section all-files
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /var/tmp -o -path /var/log \
  -o -path /var/cache -o -path /var/lib/libvirt -o -path /etc/libvirt/qemu -o -path /var/lib/systemd -o -path /lab \
  -o -path /usr/share -o -path /usr/lib -o -path /root/.cache -o -path /var/lib/wiab -o -path "$STATE" \) -prune -o -printf '%p %y %m %u:%g\n' | sort
