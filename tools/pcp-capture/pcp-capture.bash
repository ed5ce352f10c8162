# bash completion for pcp-capture

_pcp_capture() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --allow)
      mapfile -t COMPREPLY < <(compgen -W 'children deleted-file device landlock namespaces
        other-fd pipe posix-timer seccomp security-label semaphore-undo socket terminal' -- "$current")
      return
      ;;
    -p | --profile)
      mapfile -t COMPREPLY < <(compgen -W 'raw fast default small' -- "$current")
      return
      ;;
    -o | --output)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -X '!*.pcp' -- "$current"; compgen -d -- "$current")
      return
      ;;
    -j | --threads | --comment | --max-unlinked | --every | --count)
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--output --profile --threads --embed-files --seal --base --every --count --kill --inspect-only
      --max-unlinked --allow
      --comment --json --quiet --help --version' -- "$current")
    return
  fi
  local pids=(/proc/[0-9]*)
  mapfile -t COMPREPLY < <(compgen -W "${pids[*]##*/}" -- "$current")
}

complete -F _pcp_capture pcp-capture
