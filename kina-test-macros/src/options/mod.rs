//! The options in the parentheses of `#[kina::test(…)]` and `#[kina::tests(…)]`: parsed token by token, so that every
//! error is at the user's own token and one bad option does not hide the next.

mod template;
mod value;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::{Error, ExprPath, LitStr, Path};

use crate::complaints::Complaints;
pub(crate) use template::Entry;

/// The option by which `#[kina::tests(…)]` passes its options on to the tests of its module. Not for use by hand.
pub(crate) const OF_MODULE: &str = "__of_module";

/// The options, as the error messages show them.
const KNOWN_OPTIONS: [(&str, &str); 11] = [
    ("crds", "crds = [Type, \"path\"]"),
    ("fixtures", "fixtures = [\"path\"]"),
    ("template", "template = function"),
    ("kubernetes", "kubernetes = \"1.NN\""),
    ("profile", "profile = \"name\""),
    ("provider", "provider = \"name\""),
    ("isolation", "isolation = \"name\""),
    ("timeout", "timeout = \"30s\""),
    ("flavor", "flavor = \"name\""),
    ("worker_threads", "worker_threads = 4"),
    ("crate", "crate = \"path\""),
];

/// The options of one test, checked. `None` stands for the value in the settings.
#[derive(Default)]
pub(crate) struct Options {
    /// The CRDs.
    pub(crate) crds: Option<Vec<Entry>>,
    /// The other objects.
    pub(crate) fixtures: Option<Vec<Entry>>,
    /// The function that returns a template.
    pub(crate) template: Option<ExprPath>,
    /// The Kubernetes minor.
    pub(crate) kubernetes: Option<LitStr>,
    /// Set if the minor is the module's, which checks it.
    pub(crate) minor_is_of_module: bool,
    /// The parts of a cluster to run.
    pub(crate) profile: Option<Choice>,
    /// The provider of the cluster.
    pub(crate) provider: Option<LitStr>,
    /// The part of a cluster that the test has to itself.
    pub(crate) isolation: Option<Choice>,
    /// The time limit of the test.
    pub(crate) timeout_ms: Option<u64>,
    /// The flavor of its runtime.
    pub(crate) flavor: Option<Choice>,
    /// The number of its worker threads.
    pub(crate) worker_threads: Option<Count>,
    /// The path of the crate `kina`. None: `::kina`.
    pub(crate) crate_path: Option<Path>,
}

/// A word out of a few known ones.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    /// The word.
    pub(crate) name: &'static str,
    /// Its place. None: at the module.
    pub(crate) place: Option<Span>,
}

/// A number.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    /// Its value.
    pub(crate) number: usize,
    /// Its place.
    place: Span,
}

impl Options {
    /// Parses the options. Complains about a wrong option and still uses the others.
    pub(crate) fn parse(tokens: TokenStream, complaints: &mut Complaints) -> Options {
        let mut options = Options::default();
        let mut of_module = None;
        let mut names_seen = Vec::new();
        for option in split_at_commas(tokens) {
            match option.as_slice() {
                [TokenTree::Ident(name), TokenTree::Group(group)] if name == OF_MODULE => {
                    // Complaints about these were made at the module.
                    of_module = Some(Options::parse(group.stream(), &mut Complaints::default()));
                }
                tokens => {
                    let result = options.read_option(tokens, &mut names_seen);
                    complaints.keep(result);
                }
            }
        }
        if let Some(of_module) = of_module {
            options.take_missing_from(of_module);
        }
        options.check_threads(complaints);
        options
    }

    fn read_option(&mut self, tokens: &[TokenTree], names_seen: &mut Vec<String>) -> syn::Result<()> {
        let (name_token, value_tokens) = match tokens {
            [] => return Ok(()),
            [name, value @ ..] => (name, value),
        };
        let name = name_token.to_string();
        if name == "start_paused" {
            let text = "kina has no `start_paused`: a paused clock jumps to the next timeout whenever the test waits \
                         for its cluster. Call `tokio::time::pause()` where only the clock is waited for, and \
                         `resume()` after it";
            return Err(error_at(name_token, text));
        }
        if !KNOWN_OPTIONS.iter().any(|(known, _)| *known == name) {
            return Err(error_at(name_token, format!("unknown option `{name}`; {}", known_options())));
        }
        if names_seen.contains(&name) {
            return Err(error_at(name_token, format!("option `{name}` is given twice; keep one of them")));
        }
        names_seen.push(name.clone());
        let (equals, value) = match value_tokens {
            [TokenTree::Punct(equals), value @ ..] if !value.is_empty() => (equals, value),
            _ => {
                let text = format!("option `{name}` has no value; {}", known_options());
                return Err(error_at(name_token, text));
            }
        };
        if equals.as_char() != '=' {
            return Err(error_at(&value_tokens[0], format!("expected `=`; {}", known_options())));
        }
        if name == "template" {
            self.template = Some(template::function(value)?);
            return Ok(());
        }
        let (value, rest) = (&value[0], &value[1..]);
        match name.as_str() {
            "crds" => self.crds = Some(template::crds(value)?),
            "fixtures" => self.fixtures = Some(template::fixtures(value)?),
            "kubernetes" => self.kubernetes = Some(value::kubernetes_minor(value)?),
            "profile" => self.profile = Some(value::choice(value, "profile", &["api", "controllers"])?),
            "provider" => self.provider = Some(value::provider(value)?),
            "isolation" => self.isolation = Some(value::choice(value, "isolation", &["cluster", "namespace"])?),
            "timeout" => self.timeout_ms = Some(value::duration_ms(value)?),
            "flavor" => self.flavor = Some(value::choice(value, "flavor", &["current_thread", "multi_thread"])?),
            "worker_threads" => {
                let number = value::thread_count(value)?;
                self.worker_threads = Some(Count { number, place: value.span() });
            }
            _ => self.crate_path = Some(value::crate_path(value)?),
        }
        if let Some(extra) = rest.first() {
            return Err(error_at(extra, format!("expected a comma or the end after the value of `{name}`")));
        }
        Ok(())
    }

    /// The options of the module apply where the test has none.
    fn take_missing_from(&mut self, of_module: Options) {
        // A number of threads belongs to the flavor it was given with.
        if self.flavor.is_none() {
            self.worker_threads = self.worker_threads.or(of_module.worker_threads);
        }
        let elsewhere = |choice: Choice| Choice { place: None, ..choice };
        self.crds = self.crds.take().or(of_module.crds);
        self.fixtures = self.fixtures.take().or(of_module.fixtures);
        self.template = self.template.take().or(of_module.template);
        self.minor_is_of_module = self.kubernetes.is_none();
        self.kubernetes = self.kubernetes.take().or(of_module.kubernetes);
        self.profile = self.profile.or(of_module.profile.map(elsewhere));
        self.provider = self.provider.take().or(of_module.provider);
        self.isolation = self.isolation.or(of_module.isolation.map(elsewhere));
        self.timeout_ms = self.timeout_ms.or(of_module.timeout_ms);
        self.flavor = self.flavor.or(of_module.flavor.map(elsewhere));
        self.crate_path = self.crate_path.take().or(of_module.crate_path);
    }

    fn check_threads(&mut self, complaints: &mut Complaints) {
        let is_multi_threaded = self.flavor.is_some_and(|flavor| flavor.name == "multi_thread");
        if let Some(count) = self.worker_threads
            && !is_multi_threaded
        {
            let text = "`worker_threads` needs `flavor = \"multi_thread\"` beside it: the other flavor has no workers";
            complaints.push(Error::new(count.place, text));
            self.worker_threads = None;
        }
    }
}

/// All options, as a text.
fn known_options() -> String {
    let forms: Vec<String> = KNOWN_OPTIONS.iter().map(|(_, form)| format!("`{form}`")).collect();
    format!("the options are {}", forms.join(", "))
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

/// The content of the invisible group that a `macro_rules!` macro puts around tokens it passes on.
fn bare(token: &TokenTree) -> TokenStream {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => group.stream(),
        token => token.clone().into(),
    }
}

fn error_at(token: &TokenTree, text: impl std::fmt::Display) -> Error {
    Error::new(token.span(), text)
}
