
# Names of listed users. They are data: read line by line, and quoted for the command line.
_otpgate_with_users() {
    _otpgate "$@"
    # The words as they stand on the line: bash makes several of one with @ in it. `part` is what it
    # is about to replace.
    local line=${COMP_LINE:0:COMP_POINT} typed= part= c i
    local -a words=()
    for ((i = 0; i < ${#line}; i++)); do
        c=${line:i:1}
        case $c in
            \\) ((i++)); typed+=${line:i:1}; part+=$c${line:i:1} ;;
            [[:blank:]]) [[ -z $typed ]] || words+=("$typed"); typed= part= ;;
            # Within quotes other rules apply.
            \'|\"|\$|\`) return 0 ;;
            *)
                typed+=$c part+=$c
                [[ $COMP_WORDBREAKS != *"$c"* ]] || part=
                ;;
        esac
    done
    local word verb= file= is_value= first=0 last=0 place=0
    for word in "${words[@]:1}"; do
        if [[ -n $is_value ]]; then
            case $is_value in -f|--file) file=$word ;; esac
            is_value=
            continue
        fi
        case $word in
            @WITH_VALUE@) is_value=$word ;;
            --file=*) file=${word#--file=} ;;
            -f?*) file=${word#-f} ;;
            -?*) ;;
            *) if [[ -z $verb ]]; then verb=$word; else ((place++)); fi ;;
        esac
    done
    case $verb in
@VERBS@
    esac
    ((place++))
    [[ -z $is_value && $typed != -* ]] || return 0
    ((first > 0 && place >= first && place <= last)) || return 0
    [[ $file != \~/* ]] || file=$HOME/${file:2}
    local -a known
    mapfile -t known < <("$1" ${file:+-f "$file"} complete-user -- "$typed" 2>/dev/null)
    local name quoted typed_quoted=
    [[ -z $typed ]] || printf -v typed_quoted %q "$typed"
    COMPREPLY=()
    for name in "${known[@]}"; do
        printf -v quoted %q "$name"
        # Without what stands before the part that is replaced.
        [[ $part == "$typed_quoted" ]] || quoted=${quoted:${#typed_quoted}-${#part}}
        COMPREPLY+=("$quoted")
    done
}
