# bash completion for pcp-restore

_pcp_restore() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --allow)
      mapfile -t COMPREPLY < <(compgen -W 'changed-file deleted-file device landlock namespaces
        new-ids other-fd pipe seccomp security-label segment semaphore-undo socket terminal' -- "$current")
      return
      ;;
    --trace)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
    -j | --threads | --max-locks)
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--run --stopped --allow --trace --eager --lazy --no-verify
      --max-locks --threads --json --quiet --help --version' -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -X '!*.pcp' -- "$current"; compgen -d -- "$current")
}

complete -F _pcp_restore pcp-restore
