//! Choices that users write as one word, in settings, as options of the program and of tests. They share one form:
//! `ALL` lists them, `Display` writes the word, `FromStr` reads it.

/// A word that stands for no choice of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kina has no {kind} `{word}`: the {kind}s are {known}")]
pub struct UnknownChoice {
    kind: &'static str,
    word: String,
    known: String,
}

impl UnknownChoice {
    pub(crate) fn new(kind: &'static str, word: &str, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
        Self { kind, word: word.to_owned(), known: known.join(", ") }
    }
}

/// Gives an enum the form: `choice!(Kind, "kind", [Variant = "word"])`.
macro_rules! choice {
    ($Choice:ident, $kind:literal, [$($Variant:ident = $word:literal),+ $(,)?]) => {
        impl $Choice {
            /// All of them.
            pub const ALL: [Self; Self::WORDS.len()] = [$(Self::$Variant),+];

            /// Their words, in the same order.
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as users write it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $word,)+
                }
            }
        }

        impl ::std::fmt::Display for $Choice {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $Choice {
            type Err = $crate::choice::UnknownChoice;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.into_iter().find(|choice| choice.as_str() == word);
                found.ok_or_else(|| $crate::choice::UnknownChoice::new($kind, word, Self::WORDS))
            }
        }
    };
}

pub(crate) use choice;

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    use crate::ProviderName;
    use crate::choice::UnknownChoice;
    use crate::protocol::{Isolation, Profile};

    fn check<Choice>(choices: &[Choice], words: &[&str], message: &str)
    where
        Choice: Copy + Debug + Display + PartialEq + FromStr<Err = UnknownChoice>,
    {
        for (choice, word) in choices.iter().zip(words) {
            assert_eq!(choice.to_string(), *word);
            assert_eq!(word.parse(), Ok(*choice));
        }
        assert_eq!(choices.len(), words.len());
        assert_eq!("docker".parse::<Choice>().expect_err("there is none").to_string(), message);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        check(
            &ProviderName::ALL,
            &["process", "apple"],
            "kina has no provider `docker`: the providers are `process`, `apple`",
        );
        check(
            &Profile::ALL,
            &["api", "controllers"],
            "kina has no profile `docker`: the profiles are `api`, `controllers`",
        );
        check(
            &Isolation::ALL,
            &["cluster", "namespace"],
            "kina has no isolation `docker`: the isolations are `cluster`, `namespace`",
        );
    }

    #[test]
    fn messages_have_the_words_of_the_users() {
        for profile in Profile::ALL {
            assert_eq!(serde_json::to_value(profile).expect("JSON"), profile.as_str());
        }
        for isolation in Isolation::ALL {
            assert_eq!(serde_json::to_value(isolation).expect("JSON"), isolation.as_str());
        }
    }
}
