#!/usr/bin/env bash
# Real web servers, Apache and nginx, with one page and one users file: a one-time password opens the page, on 127.0.0.1 only,
# until Ctrl-C. `make demo` builds first. PORT=8090 make demo: on that port and the next.
set -euo pipefail
umask 022

here=$(cd "$(dirname "$0")" && pwd)
port=${PORT:-8080}
otpgate=$1
module=$2
nginx_module=$3
run=$here/run
user=alice
server_account=www-data
pids=()

fail() {
    echo "demo: $*" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

need_port() {
    case $1 in '' | *[!0-9]*) fail "PORT=$1 is no port number" ;; esac
    [ "$1" -lt 65536 ] || fail "there is no port $1; choose a smaller PORT"
    ! is_taken "$1" || fail "port $1 is in use already; choose another one: PORT=$(($1 + 10)) make demo"
}

# ---- Its directory ---------------------------------------------------------------------------------------

make_directory() {
    local old
    if old=$(cat "$run/pid" 2>/dev/null) && [ -n "$old" ] && kill -0 "$old" 2>/dev/null; then
        fail "another one is running already (process $old); end it first"
    fi
    # Left behind by one that was killed.
    rm -rf "$run"
    mkdir "$run"
    # Started by root, the server runs as another user, who may not be able to come here (a clone below /root).
    if is_root && ! setpriv --reuid="$server_account" --regid="$server_account" --clear-groups test -x "$run"; then
        rmdir "$run"
        run=$(mktemp -d)
        chmod 755 "$run"
    fi
    echo $$ >"$run/pid"
}

clean_up() {
    trap - EXIT
    trap '' INT TERM HUP
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$run"
}

# ---- The user --------------------------------------------------------------------------------------------

random_pin() { od -A n -t u4 -N 4 /dev/urandom | awk '{ printf "%06d", $1 % 1000000 }'; }

make_user() {
    (umask 077 && od -A n -t x1 -N 20 /dev/urandom | tr -d ' \n' >"$run/key" && random_pin >"$run/pin")
    "$otpgate" init --file "$run/users/users" >/dev/null
    cp -r "$here/htdocs" "$run/htdocs"
    cp -r "$here/../pages" "$run/pages"
    sed -i "s|/usr/local/share/otpgate/pages|$run/pages|" "$run/pages/"*.conf

    # For people without a phone: PIN and the code of this moment.
    ln -s "$(realpath "$otpgate")" "$run/otptool"
    cat >"$run/password" <<'SCRIPT'
#!/bin/sh
# The PIN and the code of this moment: what the phone's owner types.
cd "$(dirname "$0")" || exit
set -- $(./otptool -t -F key)
printf '%s%s\n' "$(cat pin)" "$2"
SCRIPT
    chmod 755 "$run/password"
}

add_user() {
    "$otpgate" add --file "$run/users/users" --key-file "$run/key" --issuer "otpgate demo" "$user" <"$run/pin"
}

# ---- Servers: each a function that starts one and notes its process --------------------------------------

wait_for() {
    local pid=$1 port=$2 log=$3
    for _ in $(seq 200); do
        if ! kill -0 "$pid" 2>/dev/null; then
            cat "$log" >&2 2>/dev/null || true
            fail "the server didn't start; see above"
        fi
        ! is_taken "$port" || return 0
        sleep 0.05
    done
    fail "the server doesn't answer on port $port"
}

start_apache() {
    local server flags=()
    server=$(PATH=$PATH:/usr/sbin command -v apache2 || PATH=$PATH:/usr/sbin command -v httpd) ||
        fail "no Apache here; on Debian: apt-get install apache2-bin"
    export DEMO_RUN=$run DEMO_PORT=$1 DEMO_MODULE=$module DEMO_APACHE_MODULES
    DEMO_APACHE_MODULES=$("${APXS:-apxs}" -q LIBEXECDIR)
    ! is_root || flags=(-D STARTED_BY_ROOT)
    "$server" -f "$here/apache.conf" -d "$run" "${flags[@]}" -t 2>"$run/configtest" ||
        { cat "$run/configtest" >&2; fail "Apache refuses its configuration"; }
    # In the background of this script, which waits for it: Ctrl-C has to clean up as well.
    "$server" -f "$here/apache.conf" -d "$run" "${flags[@]}" -D FOREGROUND &
    pids+=($!)
    wait_for $! "$1" "$run/error.log"
}

start_nginx() {
    local server account=
    server=$(PATH=$PATH:/usr/sbin command -v nginx) || fail "no nginx here; on Debian: apt-get install nginx"
    ! is_root || account="user $server_account;"
    mkdir "$run/temporary"
    sed -e "s|@MODULE@|$nginx_module|; s|@RUN@|$run|g; s|@PORT@|$1|; s|@USER@|$account|" "$here/nginx.conf" >"$run/nginx.conf"
    "$server" -p "$run" -c "$run/nginx.conf" -e "$run/nginx-error.log" -t 2>"$run/configtest" ||
        { cat "$run/configtest" >&2; fail "nginx refuses its configuration"; }
    "$server" -p "$run" -c "$run/nginx.conf" -e "$run/nginx-error.log" &
    pids+=($!)
    wait_for $! "$1" "$run/nginx-error.log"
}

# ---- The demo --------------------------------------------------------------------------------------------

need_port "$port"
nginx_port=$((port + 1))
need_port "$nginx_port"
make_directory
trap clean_up EXIT
trap 'exit 0' INT TERM HUP

make_user
start_apache "$port"
start_nginx "$nginx_port"
url=http://127.0.0.1:$port/private/
nginx_url=http://127.0.0.1:$nginx_port/private/

echo
add_user
cat <<TEXT
  Scan that with an authenticator app. Key and PIN are made anew for each run.

  In a browser    $url   (Apache)
                  $nginx_url   (nginx, the same users file)
  User            $user
  Password        the PIN $(cat "$run/pin") and right after it the code;
                  without a phone, for the next two minutes: $("$run/password")

  From another terminal, with the code of that moment:

      curl -u "$user:\$($run/password)" $url

  A code is new once: used on Apache, it is a used one on nginx, and lingers on both.

  Cancel the prompt, or type something wrong, and a page says what to type, in your browser's language.

  Who came in, who didn't, and which rule decided: $run/error.log and $run/nginx-error.log
  Ctrl-C stops the servers and removes $run.

TEXT
wait "${pids[@]}"
