# bash completion for pcp-validate

_pcp_validate() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    -l | --level)
      mapfile -t COMPREPLY < <(compgen -W 'structure checksums semantics' -- "$current")
      return
      ;;
    --trace)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
    -j | --threads | --max-decoded | --segment)
      return
      ;;
    --explain)
      local codes
      codes=$(pcp-validate --explain all 2>/dev/null | sed -n 's/^\([a-z-]*\.[a-z-]*\) (.*/\1/p')
      mapfile -t COMPREPLY < <(compgen -W "all $codes" -- "$current")
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--level --threads --max-decoded --trace --replay --segment --explain --json --quiet --help --version' -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -X '!*.pcp' -- "$current"; compgen -d -- "$current")
}

complete -F _pcp_validate pcp-validate
