# shellcheck shell=sh
# shellcheck disable=SC2154
# The set-up behind tools/run, tools/test, tools/bench and .ci/run; sourced with $tools set to this folder.
#
# `prepare LEVEL` leaves in $venv an environment that holds what LEVEL (run, test or lint) needs:
#   1. fast path: a stamp in the environment equals the fingerprint of everything that decides its content, so
#      nothing is asked of pip, apt or the network;
#   2. else, under a lock: system packages, the environment itself, half-installed packages thrown out, pip with
#      exact versions, the checkout linked in, and the stamp written last. Interrupted anywhere, the next call
#      starts again at 2 and keeps what was finished.
# Everything it says goes to stderr. It never writes outside the checkout, or, where the checkout can't be written
# or can't hold an environment, outside the user's cache folder.

top=$(dirname "$tools")
venv=''
lock_wait_s=3600      # a first set-up that compiles everything on a small board takes tens of minutes
apt_lock_wait_s=300   # unattended-upgrades holds dpkg's lock for minutes after boot

say() { printf 'icn-lite set-up: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
on_termux() { [ -n "${TERMUX_VERSION:-}" ] || case ${PREFIX:-} in */com.termux/*) true ;; *) false ;; esac; }
helper() { "$venv/bin/python" -I "$tools/setup_dists.py" "$@"; }

# --- the stamp -------------------------------------------------------------------------------------------------

checksum() {
    if have sha256sum; then sha256sum; else cksum; fi | { read -r sum _; printf '%s\n' "$sum"; }
}

fingerprint() { # of the environment $1, or nothing where it has no working Python
    version=$("$1/bin/python" -I -S -c 'import sys; print(sys.version, sys.maxsize)' 2>/dev/null) || return 0
    {
        printf '%s\n' "$version" "$top" "$1"
        uname -m
        cat "$top/pyproject.toml" "$tools"/constraints*.txt "$tools/setup.sh" "$tools/setup_dists.py"
    } | checksum
}

is_ready() { # LEVEL in $venv
    [ -f "$venv/icn-lite/ready-$1" ] || return 1
    IFS= read -r stamp <"$venv/icn-lite/ready-$1" || return 1
    [ -n "$stamp" ] && [ "$stamp" = "$(fingerprint "$venv")" ]
}

stamp_ready() {
    fingerprint "$venv" >"$venv/icn-lite/.ready-$1"
    mv -f "$venv/icn-lite/.ready-$1" "$venv/icn-lite/ready-$1"
}

# --- where the environment lies --------------------------------------------------------------------------------

cache_folder() { # one a checkout, since the environment points back to it
    printf '%s/icn-lite/%s' "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}" "$(printf '%s' "$top" | checksum | cut -c1-16)"
}

is_foreign() { # somebody else's folder, whose content we must not replace
    # In this order: ours holds icn-lite/ before anything else, also while another process is just making it.
    [ -e "$1" ] && [ -n "$(ls -A "$1" 2>/dev/null)" ] && [ ! -d "$1/icn-lite" ]
}

can_hold() { # an environment needs symbolic links, which a phone's shared storage lacks
    # A name of its own: where two set-ups start at once, one of two links of the same name can fail.
    mkdir -p "$1/icn-lite" 2>/dev/null && ln -sf probe "$1/icn-lite/.probe.$$" 2>/dev/null && rm -f "$1/icn-lite/.probe.$$"
}

prepare() {
    case $1 in run | test | lint) ;; *) fail "unknown level $1" ;; esac
    unset PYTHONHOME
    cached="$(cache_folder)/venv"
    if [ -n "${ICN_SETUP_VENV:-}" ]; then cached=$ICN_SETUP_VENV; fi
    for venv in "${ICN_SETUP_VENV:-$top/.venv}" "$cached"; do
        if is_ready "$1"; then return 0; fi
    done
    for venv in "${ICN_SETUP_VENV:-$top/.venv}" "$cached"; do
        if is_foreign "$venv"; then
            say "$venv was not made by this set-up: leaving it alone"
        elif can_hold "$venv"; then
            locked build "$1"
            return 0
        fi
    done
    say "can't make an environment in ${ICN_SETUP_VENV:-$top/.venv} nor in $cached"
    fail "make one of them writable, or name a new folder in ICN_SETUP_VENV"
}

# --- one at a time ---------------------------------------------------------------------------------------------

locked() { # COMMAND…: run it while holding the environment's lock; the subshell's end gives the lock back
    if have flock; then
        (
            flock -n 9 || {
                say "another set-up is at work on $venv: waiting for it"
                flock -w "$lock_wait_s" 9 || fail "the other set-up did not end within $lock_wait_s s"
            }
            "$@" # children keep the lock too: a pip that outlives us must not meet a second one
        ) 9>"$venv/icn-lite/lock"
    else
        (
            take_folder_lock "$venv/icn-lite/lock.d"
            trap 'rm -rf "$venv/icn-lite/lock.d"' EXIT
            trap 'exit 130' INT
            trap 'exit 143' TERM HUP
            "$@"
        )
    fi
}

take_folder_lock() { # mkdir is atomic; a lock whose owner is gone is moved aside, which only one of us can do
    waited_s=0
    until mkdir "$1" 2>/dev/null; do
        owner=$(cat "$1/pid" 2>/dev/null) || owner=''
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            if mv "$1" "$1.$$" 2>/dev/null; then
                if [ "$(cat "$1.$$/pid" 2>/dev/null)" = "$owner" ]; then rm -rf "$1.$$"; else mv "$1.$$" "$1"; fi
            fi
            continue
        fi
        [ "$waited_s" -gt 0 ] || say "another set-up (process ${owner:-unknown}) is at work on $venv: waiting for it"
        [ "$waited_s" -lt "$lock_wait_s" ] ||
            fail "the other set-up did not end within $lock_wait_s s: if none runs, remove $1"
        waited_s=$((waited_s + 1))
        sleep 1
    done
    printf '%s\n' "$$" >"$1/pid"
}

# --- system packages -------------------------------------------------------------------------------------------

find_python() { # sets $python, or leaves it empty
    python=''
    for candidate in "${ICN_SETUP_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && have "$candidate" &&
            "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$(command -v "$candidate")
            return 0
        fi
    done
}

is_debians() { case $(readlink -f "$1") in /usr/bin/python3*) true ;; *) false ;; esac; }

venv_package() { # python3-venv is for Debian's default Python only
    if [ "$python" = /usr/bin/python3 ]; then
        echo python3-venv
    else
        "$python" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
    fi
}

packages_for() { # python, venv, compiler or source, in the words of this machine's package manager
    if on_termux; then
        case $1 in
            python) echo python python-pip ;;
            venv) echo python-pip ;;
            compiler) echo clang make ;;
            source) echo libffi libsodium python-psutil ;;
        esac
    else
        case $1 in
            python) echo python3 python3-venv ;;
            venv) venv_package ;;
            compiler) echo gcc libc6-dev; if [ -z "$python" ] || is_debians "$python"; then echo python3-dev; fi ;;
            source) echo libffi-dev libsodium-dev ;;
        esac
    fi
}

require_packages() { # WHY PACKAGE…: installs them, or says which line to type and ends
    why=$1
    shift
    say "needs system packages for $why: $*"
    if on_termux; then
        pkg install -y "$@" >&2 </dev/null || fail "that did not work; type: pkg update && pkg install $*"
        return 0
    fi
    if ! have apt-get; then
        say "knows only apt-get and pkg"
        fail "install these (Debian's names) with your own package manager, then start again: $*"
    fi
    if [ "$(id -u)" -eq 0 ]; then
        apt_install '' "$@" || fail "that did not work; type: apt-get update && apt-get install -y $*"
    elif have sudo && may_use_sudo; then
        apt_install "$sudo" "$@" || fail "that did not work; type: sudo apt-get update && sudo apt-get install -y $*"
    elif have sudo; then
        fail "type this, then start again: sudo apt-get update && sudo apt-get install -y $*"
    else
        fail "type this, then start again: su -c 'apt-get update && apt-get install -y $*'"
    fi
}

may_use_sudo() { # one question, asked only where somebody can answer; sets $sudo
    sudo='sudo'
    [ -t 0 ] && [ -t 2 ] || sudo='sudo -n'
    if [ "${ICN_SETUP_YES:-}" = 1 ]; then
        [ "$sudo" = sudo ] || sudo -n true 2>/dev/null
        return
    fi
    [ "$sudo" = sudo ] || return 1
    printf 'icn-lite set-up: install them with sudo now? [y/N] ' >&2
    read -r answer || return 1
    case $answer in [yY]*) true ;; *) false ;; esac
}

apt_install() { # SUDO PACKAGE…; SUDO is a command of several words, or empty for root
    as=$1
    shift
    apt="env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=$apt_lock_wait_s -q"
    # shellcheck disable=SC2086
    { $as $apt update && $as $apt -y install --no-install-recommends "$@"; } >&2 </dev/null
}

# --- the environment -------------------------------------------------------------------------------------------

build() { # LEVEL; under the lock
    if is_ready "$1"; then return 0; fi
    say "preparing $venv ($1)"
    make_venv
    helper heal
    helper link "$top" "$venv"
    helper requirements "$top" "$venv/icn-lite" "$1"
    install_requirements "$venv" "$venv/icn-lite"
    case $1 in
        run) stamp_ready run ;;
        test) prepare_pycose; stamp_ready run; stamp_ready test ;;
        lint) prepare_pycose; stamp_ready run; stamp_ready test; stamp_ready lint ;;
    esac
    say "ready"
}

venv_works() {
    "$venv/bin/python" -I -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

make_venv() {
    if venv_works; then return 0; fi
    find_python
    # Whoever has to type the line types it once: ask for what compiling needs at the same time.
    # shellcheck disable=SC2046
    if [ -z "$python" ]; then
        require_packages 'Python 3.11 or newer' \
            $(packages_for python) $(packages_for compiler) $(is_small && packages_for source)
        find_python
        [ -n "$python" ] || fail "found no Python 3.11 or newer, even now: $(python3 --version 2>&1 || true)"
    elif ! "$python" -I -c "import venv, $(on_termux && echo pip || echo ensurepip)" 2>/dev/null; then
        require_packages 'a virtual environment and pywasm3' \
            $(packages_for venv) $(compiler_packages) $(is_small && packages_for source)
    fi
    (cd "$venv" && rm -rf bin lib lib64 include pyvenv.cfg oracles)
    say "making it with $("$python" --version) ($python)"
    # Termux has psutil, which pip refuses to build there, and a pip that knows Android, as system packages.
    if on_termux; then set -- --system-site-packages --without-pip; else set --; fi
    "$python" -m venv "$@" "$venv" >&2 || fail "$python could not make an environment in $venv (see above)"
}

is_small() { # machines for which compiled wheels are missing: see constraints-source.txt
    if on_termux; then return 0; fi
    case $(dpkg --print-architecture 2>/dev/null || uname -m) in
        armhf | armel | arm | armv* | i?86) true ;;
        *) false ;;
    esac
}

compiler_packages() { "$python" -I "$tools/setup_dists.py" compiles || packages_for compiler; }

install_requirements() { # ENVIRONMENT FOLDER: FOLDER/requirements.txt in the versions of FOLDER/constraints.txt
    # Nothing to fetch (only a setting changed, or the network is away): then no compiler is needed either.
    if pip_install "$1" "$2" --no-index --quiet 2>/dev/null; then return 0; fi
    python="$venv/bin/python"
    missing=''
    if is_small || ! has_wasm3 "$1"; then missing=$(compiler_packages); fi
    if is_small; then missing="$missing $(missing_libraries)"; fi
    # shellcheck disable=SC2086
    [ -z "${missing# }" ] || require_packages 'compiling what has no ready-made build' $missing
    say "installing the Python packages of $1"
    has_wasm3 "$1" || say "pywasm3 is compiled: that takes up to a minute, many on a small board"
    pip_install "$1" "$2" || fail "pip could not install them (its message stands above); call this again to resume"
}

has_wasm3() { # or needs none, as pycose's environment
    case $1 in */oracles/*) return 0 ;; esac
    "$1/bin/python" -I -c 'import wasm3' 2>/dev/null
}

missing_libraries() { # of the `source` group, what is not there yet
    for package in $(packages_for source); do
        dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || printf '%s ' "$package"
    done
}

pip_install() { # ENVIRONMENT FOLDER [OPTION…]
    environment=$1 folder=$2
    shift 2
    # gcc from 14 and clang from 21 on refuse a line of pywasm3 0.5.0 that older ones only warned about.
    # Older pips would install pywasm3 without metadata, unless told to build a wheel first.
    set -- env CFLAGS="${CFLAGS:+$CFLAGS }-Wno-error=incompatible-pointer-types" PIP_USE_PEP517=1 \
        "$environment/bin/python" -m pip install --no-input --disable-pip-version-check --no-warn-script-location \
        --progress-bar off --prefer-binary -c "$folder/constraints.txt" -r "$folder/requirements.txt" "$@"
    # Where wheels are missing: the system's libsodium (compiling another one takes long), and zeroconf without C.
    if is_small; then set -- env SODIUM_INSTALL=system SKIP_CYTHON=1 "$@"; fi
    "$@" >&2 </dev/null
}

prepare_pycose() { # the COSE library that tests read our documents with needs an older cbor2 than we do
    if is_small; then return 0; fi
    oracle="$venv/oracles/pycose"
    "$oracle/bin/python" -I -c 'import pip' 2>/dev/null || "$venv/bin/python" -m venv --clear "$oracle" >&2
    "$oracle/bin/python" -I "$tools/setup_dists.py" heal
    cp "$tools/constraints-pycose.txt" "$oracle/constraints.txt"
    cp "$tools/constraints-pycose.txt" "$oracle/requirements.txt"
    install_requirements "$oracle" "$oracle"
}
