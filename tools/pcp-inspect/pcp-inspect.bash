# bash completion for pcp-inspect

_pcp_inspect() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local word subcommand='' options='--json --quiet --help --version'
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
      info | maps | tasks | bt | regs | mem | files | chunks | list | trace | diff | report)
        subcommand=$word
        break
        ;;
      -*) ;;
      *) break ;;
    esac
  done
  case $previous in
    -s | --set)
      if [[ $subcommand == regs ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'NT_PRSTATUS NT_PRFPREG NT_X86_XSTATE NT_ARM_TLS NT_ARM_SVE' -- "$current")
        return
      fi
      ;;
    -t | --task | --frames)
      return
      ;;
    --trace)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    case $subcommand in
      '') options+=' --contents --max-decoded' ;;
      bt) options+=' --task --frames --trace' ;;
      regs) options+=' --task --set --all --no-names --trace' ;;
      mem) options+=' --space --raw --no-names --trace' ;;
      diff) options+=' --all --provenance --no-names --trace' ;;
      report) options+=' --output --trace --no-names' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    return
  fi
  compopt -o filenames
  mapfile -t COMPREPLY < <(
    [[ -n $subcommand ]] || compgen -W 'info maps tasks bt regs mem files chunks list trace diff report' -- "$current"
    [[ $subcommand == list || $subcommand == trace ]] || compgen -f -X '!*.pcp' -- "$current"
    compgen -d -- "$current"
  )
}

complete -F _pcp_inspect pcp-inspect
