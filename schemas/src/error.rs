//! The error that a client sees: a closed set of codes, each with its status and whether a retry can help.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `{"error": {...}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorFields,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct ErrorFields {
    /// What is wrong and what to do about it.
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub code: String,
    /// The field at fault.
    pub param: Option<String>,
    pub retryable: bool,
    pub run_id: Option<String>,
    pub request_id: Option<String>,
    /// Of `budget_exceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetFields>,
}

/// The budget that had no room for a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct BudgetFields {
    /// `request`, `run`, `user_day`, `key`, `tenant_day`, `tenant_month` or `global_day`.
    pub scope: String,
    /// What the amounts are of: `tokens`, or `nano_usd` (billionths of a dollar).
    pub unit: String,
    pub limit: u64,
    pub spent: u64,
    /// Set aside for calls under way.
    pub reserved: u64,
    /// What the call may have taken at most.
    pub wanted: u64,
    /// When the budget begins anew; null where it never does.
    pub resets_at: Option<String>,
}

macro_rules! codes {
    ($($variant:ident = $code:literal, $status:literal, $kind:literal, $retryable:literal;)*) => {
        /// Every code that a client may meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code),* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            /// The error's `type`.
            pub fn kind(self) -> &'static str {
                match self { $(Code::$variant => $kind),* }
            }

            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Code::$variant => $retryable),* }
            }

            pub fn parse(code: &str) -> Option<Self> {
                match code { $($code => Some(Code::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    BadJson = "bad_json", 400, "invalid_request_error", false;
    InvalidValue = "invalid_value", 400, "invalid_request_error", false;
    UnknownField = "unknown_field", 400, "invalid_request_error", false;
    ContextLengthExceeded = "context_length_exceeded", 400, "invalid_request_error", false;
    GuardrailBlocked = "guardrail_blocked", 400, "invalid_request_error", false;
    InvalidApiKey = "invalid_api_key", 401, "authentication_error", false;
    ModelNotAllowed = "model_not_allowed", 403, "permission_error", false;
    PermissionDenied = "permission_denied", 403, "permission_error", false;
    NotFound = "not_found", 404, "not_found_error", false;
    MethodNotAllowed = "method_not_allowed", 405, "invalid_request_error", false;
    ModelNotFound = "model_not_found", 404, "not_found_error", false;
    ThreadNotFound = "thread_not_found", 404, "not_found_error", false;
    RunNotFound = "run_not_found", 404, "not_found_error", false;
    GraphNotFound = "graph_not_found", 404, "not_found_error", false;
    AssistantNotFound = "assistant_not_found", 404, "not_found_error", false;
    BatchNotFound = "batch_not_found", 404, "not_found_error", false;
    HistoryPruned = "history_pruned", 410, "not_found_error", false;
    RequestTimeout = "request_timeout", 408, "timeout_error", true;
    KeyConflict = "key_conflict", 409, "conflict_error", false;
    ThreadBusy = "thread_busy", 409, "conflict_error", false;
    RevisionMismatch = "revision_mismatch", 409, "conflict_error", false;
    RequestTooLarge = "request_too_large", 413, "request_too_large", false;
    UnsupportedMediaType = "unsupported_media_type", 415, "invalid_request_error", false;
    SchemaViolation = "schema_violation", 422, "unprocessable_entity", false;
    ToolArgsInvalid = "tool_args_invalid", 422, "unprocessable_entity", false;
    IdempotencyMismatch = "idempotency_mismatch", 422, "unprocessable_entity", false;
    StateIncompatible = "state_incompatible", 422, "unprocessable_entity", false;
    GraphInvalid = "graph_invalid", 422, "unprocessable_entity", false;
    RateLimitExceeded = "rate_limit_exceeded", 429, "rate_limit_error", true;
    BudgetExceeded = "budget_exceeded", 429, "insufficient_quota", false;
    NotImplemented = "not_implemented", 501, "not_implemented_error", false;
    QueueFull = "queue_full", 503, "overloaded_error", true;
    AllProvidersOpen = "all_providers_open", 503, "overloaded_error", true;
    BudgetStoreUnavailable = "budget_store_unavailable", 503, "overloaded_error", true;
    LogUnavailable = "log_unavailable", 503, "overloaded_error", true;
    StoreUnavailable = "store_unavailable", 503, "overloaded_error", true;
    WaitTimeout = "wait_timeout", 504, "timeout_error", false;
    // Of a run, not of a request.
    NodeFailed = "node_failed", 500, "run_error", false;
    RecursionLimit = "recursion_limit", 500, "run_error", false;
    InvalidUpdate = "invalid_update", 500, "run_error", false;
    ValueMissing = "value_missing", 500, "run_error", true;
    CelTooCostly = "cel_too_costly", 500, "run_error", false;
    RunTimeout = "run_timeout", 500, "run_error", false;
    RunCancelled = "run_cancelled", 500, "run_error", false;
    StreamCut = "stream_cut", 500, "stream_error", false;
    Internal = "internal", 500, "internal_error", true;
}

impl ErrorBody {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        ErrorBody {
            error: ErrorFields {
                message: message.into(),
                kind: code.kind().to_owned(),
                code: code.as_str().to_owned(),
                param: None,
                retryable: code.retryable(),
                run_id: None,
                request_id: None,
                budget: None,
            },
        }
    }

    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.error.param = Some(param.into());
        self
    }

    pub fn run_id(mut self, run_id: impl ToString) -> Self {
        self.error.run_id = Some(run_id.to_string());
        self
    }
}
