//! Characters that nobody sees.

/// What may be left out when names are compared: what Unicode ignores by default, and what
/// directories prepare away as well (RFC 4518 section 2.2: control and format characters, and what
/// stands for an object).
pub fn is_invisible(c: char) -> bool {
    is_default_ignorable(c)
        || matches!(c,
            '\u{80}'..='\u{9f}' | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{1806}' | '\u{fff9}'..='\u{fffc}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}')
}

/// `Default_Ignorable_Code_Point` of DerivedCoreProperties.txt, with what is reserved for further
/// ones.
pub fn is_default_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
