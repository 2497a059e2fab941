//! What stands in the parentheses of `#[kina::test(…)]`: parsed token by token, so that every error sits on the
//! user's own token and one bad option does not hide the next.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::Parser;
use syn::{Error, Lit, LitStr, Path};

use crate::complaints::Complaints;

/// The Kubernetes minors that can be asked for: those whose types k8s-openapi has.
const KNOWN_MINORS: [&str; 5] = ["1.33", "1.34", "1.35", "1.36", "1.37"];

/// What a cluster can be made of.
const KNOWN_PROVIDERS: [&str; 2] = ["process", "apple"];

/// The options, as the error messages list them.
const KNOWN_OPTIONS: &str = "`kubernetes = \"1.NN\"`, `provider = \"name\"`, `crate = \"path\"`";

/// The options of one test, checked.
#[derive(Default)]
pub(crate) struct Options {
    /// The Kubernetes minor, one of [`KNOWN_MINORS`]. None: kina's own default.
    pub(crate) kubernetes: Option<LitStr>,
    /// What the cluster is made of, one of [`KNOWN_PROVIDERS`]. None: as the settings say.
    pub(crate) provider: Option<LitStr>,
    /// Where the crate `kina` is found. None: `::kina`.
    pub(crate) crate_path: Option<Path>,
}

impl Options {
    /// Reads the options. What is wrong with one is complained about, and the others still count.
    pub(crate) fn parse(tokens: TokenStream, complaints: &mut Complaints) -> Options {
        let mut options = Options::default();
        let mut names_seen = Vec::new();
        for option in split_at_commas(tokens) {
            let result = options.read_option(&option, &mut names_seen);
            complaints.keep(result);
        }
        options
    }

    fn read_option(&mut self, tokens: &[TokenTree], names_seen: &mut Vec<String>) -> syn::Result<()> {
        let (name_token, value_tokens) = match tokens {
            [] => return Ok(()),
            [name, value @ ..] => (name, value),
        };
        let name = name_token.to_string();
        if !matches!(name.as_str(), "kubernetes" | "provider" | "crate") {
            return Err(error_at(name_token, format!("unknown option `{name}`; the options are {KNOWN_OPTIONS}")));
        }
        if names_seen.contains(&name) {
            return Err(error_at(name_token, format!("option `{name}` stands here twice; keep one of them")));
        }
        names_seen.push(name.clone());
        let [TokenTree::Punct(equals), value, rest @ ..] = value_tokens else {
            return Err(error_at(name_token, format!("option `{name}` has no value; the options are {KNOWN_OPTIONS}")));
        };
        if equals.as_char() != '=' {
            return Err(error_at(&value_tokens[0], format!("expected `=`; the options are {KNOWN_OPTIONS}")));
        }
        match name.as_str() {
            "kubernetes" => self.kubernetes = Some(kubernetes_minor(value)?),
            "provider" => self.provider = Some(provider(value)?),
            _ => self.crate_path = Some(crate_path(value)?),
        }
        if let Some(extra) = rest.first() {
            return Err(error_at(extra, format!("expected a comma or the end after the value of `{name}`")));
        }
        Ok(())
    }
}

/// The value of `kubernetes`, if kina knows that minor.
fn kubernetes_minor(value: &TokenTree) -> syn::Result<LitStr> {
    let known = KNOWN_MINORS.join(", ");
    let literal = match literal(value) {
        Some(Lit::Str(literal)) => literal,
        Some(Lit::Float(number)) if KNOWN_MINORS.contains(&number.to_string().as_str()) => {
            return Err(error_at(
                value,
                format!("quote it: `kubernetes = \"{number}\"`; the known minors are {known}"),
            ));
        }
        _ => {
            return Err(error_at(
                value,
                format!(
                    "expected a Kubernetes minor in quotes, as in `kubernetes = \"1.37\"`; the known minors are {known}"
                ),
            ));
        }
    };
    let text = literal.value();
    if KNOWN_MINORS.contains(&text.as_str()) {
        return Ok(literal);
    }
    let meant = KNOWN_MINORS.into_iter().find(|minor| {
        let bare = text.trim().trim_start_matches(['v', 'V']);
        bare.strip_prefix(minor).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let reason = match meant {
        Some(minor) if text.matches('.').count() > 1 => {
            format!("only the minor is chosen, kina takes its newest patch: write `{minor}` instead of `{text}`")
        }
        Some(minor) => format!("a minor is two numbers and nothing else: write `{minor}` instead of `{text}`"),
        None if text.is_empty() => "no Kubernetes minor given".to_owned(),
        None => format!("kina has no Kubernetes minor `{text}`"),
    };
    Err(error_at(value, format!("{reason}; the known minors are {known}")))
}

/// The value of `provider`, if kina has that.
fn provider(value: &TokenTree) -> syn::Result<LitStr> {
    let known = KNOWN_PROVIDERS.map(|name| format!("`{name}`")).join(", ");
    match literal(value) {
        Some(Lit::Str(literal)) if KNOWN_PROVIDERS.contains(&literal.value().as_str()) => Ok(literal),
        Some(Lit::Str(literal)) => {
            Err(error_at(value, format!("kina has no provider `{}`; the providers are {known}", literal.value())))
        }
        _ => Err(error_at(
            value,
            format!("expected a provider in quotes, as in `provider = \"process\"`; the providers are {known}"),
        )),
    }
}

/// The value of `crate`, as a path.
fn crate_path(value: &TokenTree) -> syn::Result<Path> {
    let Some(Lit::Str(literal)) = literal(value) else {
        return Err(error_at(value, "expected a path in quotes, as in `crate = \"my_crate::kina\"`"));
    };
    literal.parse_with(Path::parse_mod_style).map_err(|_| {
        Error::new(
            literal.span(),
            format!("`{}` is no path to the crate kina; it looks like `crate = \"my_crate::kina\"`", literal.value()),
        )
    })
}

/// The literal that a token is. What a `macro_rules!` macro passed on comes in an invisible group.
fn literal(token: &TokenTree) -> Option<Lit> {
    let tokens = match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => group.stream(),
        token => token.clone().into(),
    };
    (|input: syn::parse::ParseStream<'_>| input.parse::<Lit>()).parse2(tokens).ok()
}

fn split_at_commas(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut options = vec![Vec::new()];
    for token in tokens {
        match (&token, options.last_mut()) {
            (TokenTree::Punct(punct), _) if punct.as_char() == ',' => options.push(Vec::new()),
            (_, Some(option)) => option.push(token),
            (_, None) => options.push(vec![token]),
        }
    }
    options
}

fn error_at(token: &TokenTree, text: impl std::fmt::Display) -> Error {
    Error::new(token.span(), text)
}
