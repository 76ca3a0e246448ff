# Sourced by run, test and bench, with $root set to the project's folder. `need_python` finds a Python, sees that
# .venv is what requirements.lock says, and sets $python to the one in it. Where nothing changed it starts no process.
# Shell options are the caller's. POSIX sh, no bashisms.
# shellcheck shell=sh

python=${root:?}/.venv/bin/python

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Prints the path of a Python 3.11 or newer, or nothing. A version manager's shim may be there and yet run nothing:
# hence each is tried. `realpath`: .venv then points at one version for good, whatever the shim says tomorrow.
find_python() {
    for name in ${PYTHON:+"$PYTHON"} python3.14 python3.13 python3.12 python3.11 python3 python; do
        "$name" -c 'if True:
            import os, sys
            sys.version_info >= (3, 11) or sys.exit(1)
            print(os.path.realpath(sys.executable))' 2>/dev/null && return
    done
    if command -v uv >/dev/null; then # downloads one if need be
        uv python find --no-project '>=3.11' 2>/dev/null && return
        uv python install 3.13 >&2 && uv python find --no-project 3.13
    fi
}

# Prints the command that brings a Python with venv and pip on this system.
how_to_get_python() {
    if command -v apt-get >/dev/null; then
        for version in 13 12 11 14; do
            if apt-cache show "python3.$version-venv" >/dev/null 2>&1; then
                echo "apt install python3.$version-venv"
                return
            fi
        done
        echo "apt update && apt install python3-venv"
    elif command -v dnf >/dev/null; then
        echo "dnf install python3.12"
    elif command -v zypper >/dev/null; then
        echo "zypper install python312"
    elif command -v apk >/dev/null; then
        echo "apk add python3"
    elif command -v pacman >/dev/null; then
        echo "pacman -S python"
    elif command -v brew >/dev/null; then
        echo "brew install python"
    else
        echo "install Python 3.11 or newer, or uv, from your system's packages"
    fi
}

# .ci/venv.py leaves a copy of the lock in .venv when all of it is installed: the two differ when .venv is old.
# `-x` follows the link to the Python behind it, which an upgrade of the system may have taken away.
need_python() {
    if [ -x "$python" ] && cmp -s "$root/requirements.lock" "$root/.venv/requirements.lock"; then
        return
    fi
    base=$(find_python)
    [ -n "$base" ] || fail "This needs Python 3.11 or newer, and none was found. One command brings it:" \
        "    $(how_to_get_python)"
    if ! command -v uv >/dev/null && ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
        fail "$base has no venv module. One command brings it (or uv):" "    $(how_to_get_python)"
    fi
    "$base" "$root/.ci/venv.py" "$root" || fail "Could not make $root/.venv: see above."
}

# Where there is a Chromium, its tests can run: then .venv gets what they need besides.
need_browser_tests() {
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || command -v chromium-browser >/dev/null ||
        return 0
    "$python" -c 'import axe_playwright_python, playwright' 2>/dev/null && return
    set -- install -q --require-hashes -r "$root/.ci/browser.lock"
    if command -v uv >/dev/null; then
        uv pip "$@" --python "$python"
    else
        "$python" -m pip --disable-pip-version-check "$@"
    fi || fail "Could not install what the browser's tests need: see above."
}
