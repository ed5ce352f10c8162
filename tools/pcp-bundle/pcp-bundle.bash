# bash completion for pcp-bundle

_pcp_bundle() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local subcommand=${COMP_WORDS[1]} options='--json --quiet --help --version'
  if [[ $COMP_CWORD == 1 ]]; then
    mapfile -t COMPREPLY < <(compgen -W 'create check extract --help --version' -- "$current")
    return
  fi
  case $previous in
    --trace | --root)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
    --max-size)
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    case $subcommand in
      create) options+=' --output --trace --debug --allow-missing' ;;
      check) options+=' --max-size --list' ;;
      extract) options+=' --max-size --root' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}

complete -F _pcp_bundle pcp-bundle
