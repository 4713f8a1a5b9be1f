#!/usr/bin/env bash
# The part of test.sh that runs in the clean Debian, in /test/now.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

say() { echo "packages: $*"; }
fail() {
    echo "packages: FAILED: $*" >&2
    tail -n 20 /var/log/apache2/error.log /var/log/nginx/error.log >&2 || true
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# Everything but users' files, what other packages leave, and what is written while nothing of ours is there.
listing() {
    find / -xdev \( -path /proc -o -path /dev -o -path /test -o -path /tmp -o -path /run -o -path /var/lib/otpgate \
        -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log -o -path /var/www/otp \
        -o -path /var/lib/apache2/site -o -path /var/lib/nginx \) -prune \
        -o -print | { grep -v '^/var/lib/apache2/module/[a-z]*_by_[a-z]*$' || true; } | sort
}
# The server's processes that run code which is no longer on the disk.
outdated() { grep -l -s "$1.* (deleted)\$" /proc/[0-9]*/maps || true; }
wait_until() {
    for _ in $(seq 100); do
        if eval "$1"; then return; fi
        sleep 0.1
    done
    fail "still not: $1"
}

# ---- As it is --------------------------------------------------------------------------------------------

# Nobody outside is to reach these, in whatever namespace; and both servers want port 80.
sed -i 's/^Listen 80$/Listen 127.0.0.1:80/' /etc/apache2/ports.conf
rm /etc/nginx/sites-enabled/default
[ -s /etc/hosts ] || echo '127.0.0.1 localhost' >/etc/hosts
listing >/test/before
# What maintainer scripts ask init scripts for is done, or not.
init_scripts() {
    case $1 in run) echo 'exit 0' ;; ignored) echo 'exit 101' ;; esac | sed '1i #!/bin/sh' >/usr/sbin/policy-rc.d
}
init_scripts run

# ---- docs/quickstart.md, to the letter -------------------------------------------------------------------

begun=$SECONDS
awk '/^```sh$/ { n++; f = sprintf("/test/block-%02d", n); next } /^```$/ { f = "" } f != "" { print > f }' /test/quickstart.md
secret=SECRET
echo 4711 >/test/pin
for block in /test/block-*; do
    grep -q '^rm alice.png' "$block" && cp alice.png /test/
    sed -i "s/SECRET/$secret/" "$block"
    # Where a PIN is asked for, it is this.
    if ! sh -e "$block" </test/pin >/test/out 2>&1; then
        cat "$block" /test/out >&2
        fail "$block of docs/quickstart.md"
    fi
    if grep -q '^otpgate add' "$block"; then
        grep '^otpauth:' /test/out >/test/address
        secret=$(sed 's/.*secret=\([A-Z2-7]*\).*/\1/' /test/address)
    fi
    if grep -q '^curl' "$block"; then
        grep -q '^Come in\.$' /test/out || { cat /test/out >&2; fail 'no page'; }
    fi
done
say "the quickstart took $((SECONDS - begun)) s ($(ls /test/block-* | wc -l) blocks)"
[ "$(stat -c '%U:%G %a' /var/lib/otpgate /var/lib/otpgate/users | xargs)" = 'www-data:www-data 770 www-data:www-data 660' ] ||
    fail "$(ls -la /var/lib/otpgate)"
[ -L /etc/apache2/mods-enabled/authn_otp.load ]
[ "$(readlink /etc/nginx/modules-enabled/50-mod-http-auth-otp.conf)" = /usr/share/nginx/modules-available/mod-http-auth-otp.conf ]

code() { oathtool --totp --base32 "$secret"; }
status() { curl --silent --output /dev/null --write-out '%{http_code}' "$@" || true; }
logins() {
    for port in 8080 8081; do
        [ "$(status "http://127.0.0.1:$port/")" = 401 ] || fail "no login is asked for on $port"
        curl --silent --header 'Accept-Language: de-AT' "http://127.0.0.1:$port/" | grep 'nicht angemeldet' >/dev/null ||
            fail "no German page on $port"
        [ "$(status --user "alice:9999$(code)" "http://127.0.0.1:$port/")" = 401 ] || fail "a wrong PIN gets in on $port"
        [ "$(status --user "alice:4711$(code)" "http://127.0.0.1:$port/")" = 200 ] || fail "alice doesn't get in on $port"
    done
}
logins
for name in otptool otplock genotpurl; do "$name" --help >/dev/null 2>&1 || "$name" -h >/dev/null 2>&1 || fail "$name"; done
[ -e /usr/share/man/man1/otpgate.1.gz ] && [ -e /usr/share/man/man5/otpgate-users.5.gz ] && [ -e /usr/share/bash-completion/completions/otpgate ]

# ---- What units and logrotate run --------------------------------------------------------------------------

commands() { sed -n "s/^$2=-\{0,1\}//p" "/lib/systemd/system/$1.service"; }
service apache2 stop >/dev/null
service nginx stop >/dev/null
wait_until '! pgrep -x "apache2|nginx" >/dev/null'
for unit in apache2 nginx; do
    for kind in ExecStartPre ExecStart ExecReload; do
        commands "$unit" "$kind" | while read -r command; do
            say "$unit.service $kind: $command"
            APACHE_STARTED_BY_SYSTEMD=true sh -c "$command" || fail "$command"
        done
    done
done
apachectl configtest
wait_until '[ "$(status http://127.0.0.1:8081/)$(status http://127.0.0.1:8080/)" = 401401 ]'
logins
for name in apache2 nginx; do
    sed -n '/^[[:space:]]*postrotate/,/endscript/p' "/etc/logrotate.d/$name" | sed '1d;$d' >"/test/postrotate-$name"
    [ -s "/test/postrotate-$name" ]
    mv "/var/log/$name/error.log" "/var/log/$name/error.log.1"
    sh -e "/test/postrotate-$name" || fail "postrotate of $name"
    wait_until "[ -s /var/log/$name/error.log ] || [ -e /var/log/$name/error.log ]"
done
logins
say 'the units'"'"' commands and logrotate'"'"'s succeed'

# ---- fail2ban, by docs/recipes/fail2ban.md ---------------------------------------------------------------

recipe() {
    awk -v begin="\`\`\`$1" '$0 == begin { on = 1; next } /^```$/ { on = 0 } on { print; n++ } END { exit !n }' /test/fail2ban.md
}
# Debian's own jail is for an sshd whose log isn't here: as it comes, it can't start.
init_scripts ignored
apt install fail2ban >/test/fail2ban.apt 2>&1 || { cat /test/fail2ban.apt; fail 'apt install fail2ban'; }
init_scripts run
fail2ban-client -d >/test/jails || fail 'fail2ban refuses its configuration'
! grep -q otpgate /test/jails || fail 'a jail is on that nobody has switched on'
recipe 'nginx log' >/etc/nginx/conf.d/otp-log.conf
nginx -t -q
service nginx reload >/dev/null
wait_until '[ -e /var/log/nginx/otp.log ]'
{
    # A ban is a line in a file. There is no sshd here, and no log of one.
    printf '[DEFAULT]\nbanaction = record\nignoreself = false\nignoreip =\n[sshd]\nenabled = false\n'
    recipe 'ini apache'
    recipe 'ini nginx'
} >/etc/fail2ban/jail.local
printf '[Definition]\nactionban = echo "<name> <ip> <port>" >>/test/bans\nactionunban =\n' >/etc/fail2ban/action.d/record.conf
commands fail2ban ExecStartPre | while read -r command; do sh -c "$command" || fail "$command"; done
commands fail2ban ExecStart >/test/fail2ban.command
say "fail2ban.service ExecStart: $(cat /test/fail2ban.command)"
sh /test/fail2ban.command >/test/fail2ban.out 2>&1 &
wait_until 'fail2ban-client ping >/dev/null 2>&1'
earlier=$(oathtool --totp --base32 --now '60 seconds ago' "$secret")
for port in 8080 8081; do
    # A page that is still open, with its parts.
    for _ in $(seq 40); do
        [ "$(status --interface 127.0.0.8 --user "alice:4711$earlier" "http://127.0.0.1:$port/")" = 401 ] || fail "an old code on $port"
    done
    for n in $(seq 10); do
        [ "$(status --interface "127.0.0.${port#80}" --user "alice:guess$n$(code)" "http://127.0.0.1:$port/")" = 401 ] ||
            fail "a guess on $port"
    done
done
touch /test/bans
wait_until '[ "$(wc -l </test/bans)" -ge 2 ]'
[ "$(sort /test/bans | xargs)" = 'otpgate-apache 127.0.0.80 http,https otpgate-nginx 127.0.0.81 http,https' ] ||
    fail "banned: $(cat /test/bans)"
fail2ban-client status otpgate-nginx | grep -q 'Total failed:[[:space:]]*1[0-9]$' || fail "$(fail2ban-client status otpgate-nginx)"
fail2ban-client stop >/dev/null
wait
say "fail2ban $(dpkg-query -W -f '${Version}' fail2ban): $(xargs </test/bans)"
logins

# ---- An upgrade while requests go on ---------------------------------------------------------------------

head -c 3000000 /dev/zero >/var/www/otp/long
password="alice:4711$(code)"
[ "$(status --user "$password" http://127.0.0.1:8080/)" = 200 ]
touch /test/go-on
load() {
    local n=0
    while [ -e /test/go-on ] && [ $n -lt 20000 ]; do
        status --user "$password" "http://127.0.0.1:$1/" >>"/test/load-$1"
        echo >>"/test/load-$1"
        n=$((n + 1))
    done
}
loads=() longs=()
for port in 8080 8081; do
    : >"/test/load-$port"
    load "$port" &
    loads+=($!)
    # One that is on its way all the time.
    curl --silent --user "$password" --limit-rate 300k --output "/test/long-$port" "http://127.0.0.1:$port/long" &
    longs+=($!)
done
wait_until '[ "$(wc -l </test/load-8080)" -gt 20 ] && [ "$(wc -l </test/load-8081)" -gt 20 ]'
upgrade() {
    apt install --reinstall --allow-downgrades "$1"/otpgate_*.deb "$1"/lib{apache2,nginx}-mod-*.deb >/test/upgrade 2>&1 ||
        { cat /test/upgrade; fail upgrade; }
}
said() { grep -q "$1" /test/upgrade || { cat /test/upgrade; fail "not said: $1"; }; }
upgrade /test/newer
said 'service nginx upgrade'
said 'Once it doesn.t, run: otpgate check --fix'
[ -n "$(outdated ngx_http_auth_otp_module.so)" ] || fail 'nginx has taken the new module by itself'
newest=$(pgrep -n -P "$(cat /run/nginx.pid)")
service nginx reload >/dev/null
wait_until '[ "$(pgrep -n -P "$(cat /run/nginx.pid)")" != "$newest" ]'
[ -n "$(outdated ngx_http_auth_otp_module.so)" ] || fail 'a reload takes the new module: the packages say it does not'
service nginx upgrade >/dev/null || fail 'service nginx upgrade'
wait "${longs[@]}" || fail 'a request that was on its way has been cut off'
wait_until '[ -z "$(outdated "\(mod_authn_otp\|ngx_http_auth_otp_module\).so")" ]'
rm /test/go-on
wait "${loads[@]}"
for port in 8080 8081; do
    [ "$(sort -u "/test/load-$port")" = 200 ] || fail "lost requests on $port: $(sort "/test/load-$port" | uniq -c | xargs)"
    cmp "/test/long-$port" /var/www/otp/long
    say "upgrade under load on $port: $(wc -l <"/test/load-$port") requests, none lost"
done
[ "$(dpkg-query -W -f '${Version}' otpgate)" = "$(dpkg-deb -f /test/newer/otpgate_*.deb Version)" ]
logins
# With nothing on its way and nginx at rest, nothing is in the check's way.
service nginx stop >/dev/null
wait_until '! pgrep -x nginx >/dev/null'
upgrade /test/newer
said 'users: no problems'
service nginx start >/dev/null
wait_until '[ "$(status http://127.0.0.1:8081/)" = 401 ]'
logins

# ---- Removed and purged ----------------------------------------------------------------------------------

packages=(otpgate libapache2-mod-authn-otp libnginx-mod-http-auth-otp)
# The site goes first, or its directives would be unknown ones.
a2dissite -q otp >/dev/null
rm /etc/apache2/sites-available/otp.conf /etc/nginx/conf.d/otp.conf /etc/nginx/conf.d/otp-log.conf
service nginx reload >/dev/null
apt remove "${packages[@]}" >/test/remove 2>&1 || { cat /test/remove; fail remove; }
apachectl configtest && nginx -t -q
for pid in $(cat /run/nginx.pid /run/apache2/apache2.pid); do kill -0 "$pid" || fail 'a server has ended'; done
[ "$(status http://127.0.0.1:80/)" = 200 ]
sha256sum /var/lib/otpgate/users >/test/users.sum
rm /etc/fail2ban/jail.local /etc/fail2ban/action.d/record.conf
apt purge "${packages[@]}" >/test/purge 2>&1 || { cat /test/purge; fail purge; }
init_scripts ignored
apt purge fail2ban >/test/purge 2>&1 || { cat /test/purge; fail 'apt purge fail2ban'; }
service apache2 stop >/dev/null
service nginx stop >/dev/null
listing >/test/after
diff /test/before /test/after || fail 'something is left'
sha256sum --quiet --check /test/users.sum
say "left of the packages: $(find /var/lib/otpgate -type f | sort | xargs)"
