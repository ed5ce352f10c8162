# bash completion for pcp-convert

_pcp_convert() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --to)
      mapfile -t COMPREPLY < <(compgen -W 'core rr-2025' -- "$current")
      return
      ;;
    --from)
      mapfile -t COMPREPLY < <(compgen -W 'core' -- "$current")
      return
      ;;
    --file-pages)
      mapfile -t COMPREPLY < <(compgen -W 'none headers all' -- "$current")
      return
      ;;
    --trace)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
    --process)
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--to --from --output --file-pages --process --trace --ignore-files --json --quiet --help --version' -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}

complete -F _pcp_convert pcp-convert
