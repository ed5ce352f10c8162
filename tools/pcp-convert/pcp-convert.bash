# bash completion for pcp-convert

_pcp_convert() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  if [[ $previous == --to ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'rr-2025' -- "$current")
    return
  fi
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--to --json --quiet --help --version' -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -X '!*.pcp' -- "$current"; compgen -d -- "$current")
}

complete -F _pcp_convert pcp-convert
