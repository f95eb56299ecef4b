//! The driver's errors in the store's words.

use ::scylla::{
    deserialize::{DeserializationError, TypeCheckError},
    errors::{
        ExecutionError, IntoRowsResultError, MaybeFirstRowError, NewSessionError, NextRowError, PagerExecutionError,
        PrepareError, RowsError, SchemaAgreementError, UseKeyspaceError,
    },
};

use crate::error::StoreError;

macro_rules! in_words {
    ($kind:ident: $($error:ty),+) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                StoreError::$kind { reason: error.to_string() }
            }
        })+
    };
}

in_words!(Unavailable: ExecutionError, NewSessionError, NextRowError, PagerExecutionError, PrepareError,
    SchemaAgreementError, UseKeyspaceError);
in_words!(Corrupt: DeserializationError, IntoRowsResultError, MaybeFirstRowError, RowsError, TypeCheckError);
