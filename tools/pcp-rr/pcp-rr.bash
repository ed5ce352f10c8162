# bash completion for pcp-rr

_pcp_rr() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local subcommand=${COMP_WORDS[1]} options='--help --version --quiet'
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W \
      'record replay gdbinit create-checkpoints rerun dump ps ls segments traceinfo pack doctor --help --version' \
      -- "$current")
    return
  fi
  case $previous in
    -o | --output-trace-dir)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
    --cpuid)
      mapfile -t COMPREPLY < <(compgen -W 'native x86-64 x86-64-v2 x86-64-v3' -- "$current")
      return
      ;;
    -d | --debugger)
      mapfile -t COMPREPLY < <(compgen -c -X '!*@(gdb|lldb)*' -- "$current")
      return
      ;;
    -x | --gdb-x)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --profile)
      mapfile -t COMPREPLY < <(compgen -W 'raw fast default small' -- "$current")
      return
      ;;
    -g | -f | -s | -e | -i | -t | --goto | --onfork | --interval | --interval-ms | --tid)
      # Of dump, ls and rerun -s, -e and -t are other options or take numbers: nothing to offer.
      [[ $subcommand == dump || $subcommand == ls ]] || return
      [[ $subcommand == dump && ($previous == -t || $previous == --tid) ]] && return
      ;;
  esac
  case $subcommand in
    record) options+=' --output-trace-dir --print-trace-dir --wait --checkpoint-interval --checksum --self-check --cpuid --no-syscall-buffer --no-cache' ;;
    replay)
      options+=' --autopilot --place --goto --goto-exit --onfork --onprocess --debugger --gdb-x'
      options+=' --debugger-option --interpreter --fullname --dbgport --dbghost --keep-listening'
      options+=' --no-redirect-output --verify --ignore-pcp --base-memory'
      ;;
    gdbinit) options+=' --lldb' ;;
    create-checkpoints)
      options+=' --interval --interval-ms --start --end --profile --bases --ignore-pcp --follow --json'
      ;;
    rerun)
      options+=' --trace-start --trace-end --segment --event-regs --singlestep --raw --ignore-pcp'
      ;;
    dump)
      options+=' --syscallbuf --task-events --recorded-metadata --mmaps --raw --statistics --tid --json'
      ;;
    ps | segments | doctor) options+=' --json' ;;
    ls) options+=' --long-listing --sort-by-age --reverse --json' ;;
    traceinfo) options+=' --verify --json' ;;
    pack) options+=' --profile --json' ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    return
  fi
  if [[ $subcommand == record ]]; then
    mapfile -t COMPREPLY < <(compgen -c -- "$current")
    return
  fi
  [[ $subcommand == ls || $subcommand == doctor ]] && return
  compopt -o filenames
  local root=${_PCP_RR_TRACE_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/pcp-rr}
  mapfile -t COMPREPLY < <(
    [[ $current == */* || ! -d $root ]] || (cd "$root" && compgen -d -- "$current")
    compgen -d -- "$current"
  )
}

complete -F _pcp_rr pcp-rr
