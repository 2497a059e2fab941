//! From a test's signature to its call. The function pointer determines the arguments; each has an [`Argument`] that
//! makes it, so that the compiler reports an unsupported type at its own place in the user's signature.

use std::pin::Pin;

use crate::{Context, Error, FromTest};

type Making<'a, Value> = Pin<Box<dyn Future<Output = Result<Value, Error>> + 'a>>;

/// Makes one argument.
pub struct Argument<Value> {
    make: for<'a> fn(&'a Context) -> Making<'a, Value>,
    cluster_count: usize,
}

/// Makes all arguments of a test.
pub trait Arguments {
    /// The arguments, in their order.
    type Values;

    /// The number of clusters they take.
    fn cluster_count(&self) -> usize;

    /// Makes them, one after the other.
    fn make(&self, context: &Context) -> impl Future<Output = Result<Self::Values, Error>>;
}

/// A function that takes these arguments.
pub trait TestFunction<Args: Arguments> {
    /// Its return type.
    type Output;

    /// Calls the function.
    fn call(self, values: Args::Values) -> Self::Output;
}

/// The maker of an argument of this type.
pub fn argument<Value: FromTest + 'static>() -> Argument<Value> {
    Argument { make: make::<Value>, cluster_count: Value::CLUSTER_COUNT }
}

fn make<Value: FromTest + 'static>(context: &Context) -> Making<'_, Value> {
    Box::pin(async {
        let made = Value::from_test(context).await;
        made.map_err(|error| Error::Argument { argument: std::any::type_name::<Value>(), source: error.into() })
    })
}

macro_rules! signatures {
    ($(($($value:ident $number:tt),+))+) => {
        $(
            impl<$($value),+> Arguments for ($(Argument<$value>,)+) {
                type Values = ($($value,)+);

                fn cluster_count(&self) -> usize {
                    0 $(+ self.$number.cluster_count)+
                }

                async fn make(&self, context: &Context) -> Result<Self::Values, Error> {
                    Ok(($((self.$number.make)(context).await?,)+))
                }
            }

            impl<$($value,)+ Output> TestFunction<($(Argument<$value>,)+)> for fn($($value),+) -> Output {
                type Output = Output;

                fn call(self, values: ($($value,)+)) -> Output {
                    self($(values.$number),+)
                }
            }
        )+
    };
}

signatures! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
