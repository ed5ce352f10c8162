# bash completion for pcp-prune

_pcp_prune() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --spacing | --max-age | --max-size)
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--spacing --max-age --max-size --dry-run --json --quiet --help --version' -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -d -- "$current")
}

complete -F _pcp_prune pcp-prune
