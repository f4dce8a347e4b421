# find_python VERSION: prints the path of an interpreter of that version that runs; fails
# if there is none. A shim of pyenv stands in PATH also where it runs nothing.
find_python() {
    local candidate pyenv=${PYENV_ROOT:-$HOME/.pyenv}
    for candidate in $(type -ap "python$1") \
        $(ls -d "$pyenv/versions/$1".*/bin/"python$1" 2>/dev/null | sort -rV); do
        if "$candidate" -c 'import ssl, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}
