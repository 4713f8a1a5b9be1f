
# Names of listed users. They are data: fish quotes them.
function __fish_otpgate_users
    set -l file
    set -l words (commandline -opc)
    for i in (seq (count $words))
        switch $words[$i]
            case -f --file
                set -q words[(math $i + 1)]; and set file -f $words[(math $i + 1)]
            case '--file=*'
                set file -f (string replace -- --file= '' $words[$i])
        end
    end
    command otpgate $file complete-user -- (string unescape -- (commandline -ct)) 2>/dev/null
end

# Whether what is typed is one of these operands of the verb.
function __fish_otpgate_at_operand
    set -l place 0
    set -l is_value 0
    for word in (commandline -opc)[2..]
        if test $is_value = 1
            set is_value 0
        else if contains -- $word @WITH_VALUE@
            set is_value 1
        else if not string match -qr -- '^-.' $word
            set place (math $place + 1)
        end
    end
    test $is_value = 0 -a $place -ge $argv[1] -a $place -le $argv[2]
end

