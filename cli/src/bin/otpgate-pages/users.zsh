# Names of listed users. They are data: compadd quotes them.
_otpgate_users() {
    local file=${opt_args[-f]:-${opt_args[--file]}}
    local -a known
    known=(${(f)"$(command otpgate ${file:+-f} ${file:+${(Q)~file}} complete-user -- "${(Q)PREFIX}" 2>/dev/null)"})
    (( $#known )) && compadd -a known
}
