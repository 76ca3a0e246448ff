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

# [arguments of pip install]: by uv, where there is one.
install() {
    if command -v uv >/dev/null; then
        uv pip install -q --python "$python" --require-hashes "$@"
    else
        "$python" -m pip install -q --disable-pip-version-check --require-hashes "$@"
    fi || fail "Could not install what some tests need: see above."
}

# What builds docs/, into .venv.
need_for_docs() {
    if ! cmp -s "$root/.ci/docs.lock" "$root/.venv/docs.lock" ||
        ! "$python" -c 'import myst_parser, pydata_sphinx_theme, sphinx' 2>/dev/null; then
        install -r "$root/.ci/docs.lock"
        cp "$root/.ci/docs.lock" "$root/.venv/docs.lock"
    fi
}

# What only some tests need besides .venv: a subscriber that is not ours, in a folder of its own; and where there is a
# Chromium, what drives it.
need_for_tests() {
    need_for_docs
    subscriber=$root/.venv/subscriber
    if ! cmp -s "$root/.ci/subscriber.lock" "$subscriber/lock"; then
        rm -rf "$subscriber"
        install --target "$subscriber" -r "$root/.ci/subscriber.lock"
        cp "$root/.ci/subscriber.lock" "$subscriber/lock"
    fi
    for name in chromium google-chrome google-chrome-stable chromium-browser; do
        command -v "$name" >/dev/null || continue
        "$python" -c 'import axe_playwright_python, playwright' 2>/dev/null || install -r "$root/.ci/browser.lock"
        break
    done
}
