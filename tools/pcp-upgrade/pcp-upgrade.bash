# bash completion for pcp-upgrade

_pcp_upgrade() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  case $previous in
    --profile)
      mapfile -t COMPREPLY < <(compgen -W 'raw fast default small' -- "$current")
      return
      ;;
    --to)
      mapfile -t COMPREPLY < <(compgen -W '1.0' -- "$current")
      return
      ;;
    -o | --output)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '--in-place --output --dry-run --remove-old --flatten --profile
      --embed-files --reproducible --to --json --quiet --help --version' -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}

complete -F _pcp_upgrade pcp-upgrade
