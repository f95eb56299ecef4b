//! The codes of everything that a graph file can have wrong. A code is for ever: people search for it.

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// Each has a page `docs/errors/<code>.md` and a file in `examples/bad`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    // reading
    /// Not YAML, or not one document of it.
    YamlSyntax = "yaml-syntax",
    TooLarge = "too-large",
    DuplicateKey = "duplicate-key",
    UnknownField = "unknown-field",
    MissingField = "missing-field",
    WrongType = "wrong-type",
    /// Not one of a closed set of words.
    UnknownValue = "unknown-value",
    OutOfRange = "out-of-range",
    BadDuration = "bad-duration",
    UnknownVersion = "unknown-version",
    BadSchema = "bad-schema",
    BadEdge = "bad-edge",
    /// In the language, and not in this version.
    NotBuiltYet = "not-built-yet",

    // names
    BadName = "bad-name",
    ReservedName = "reserved-name",
    UnknownNode = "unknown-node",
    UnknownChannel = "unknown-channel",
    UnknownModel = "unknown-model",
    BadModelTarget = "bad-model-target",
    /// An alias that leads to others, and not in one of the forms.
    BadRoute = "bad-route",
    BadUrl = "bad-url",
    BadEnvironmentName = "bad-environment-name",
    BadPath = "bad-path",
    BadGraphReference = "bad-graph-reference",
    /// A handler that can't handle.
    BadHandler = "bad-handler",

    // edges
    NoStart = "no-start",
    EdgeDirection = "edge-direction",
    DuplicateEdge = "duplicate-edge",
    ElseNotLast = "else-not-last",
    MissingElse = "missing-else",
    UnreachableNode = "unreachable-node",
    NoWayToEnd = "no-way-to-end",
    TwoWriters = "two-writers",

    // channels
    ReducerType = "reducer-type",
    DefaultType = "default-type",
    UnusedChannel = "unused-channel",

    // CEL and Jinja
    CelSyntax = "cel-syntax",
    CelUnknownName = "cel-unknown-name",
    CelUnknownFunction = "cel-unknown-function",
    CelType = "cel-type",
    CelTooCostly = "cel-too-costly",
    JinjaSyntax = "jinja-syntax",
    PromptUnknownName = "prompt-unknown-name",
    PromptNamesNothing = "prompt-names-nothing",

    // nodes
    PromptAndMessages = "prompt-and-messages",
    NothingToAsk = "nothing-to-ask",
    ServeNeedsMessages = "serve-needs-messages",
    SecretInFile = "secret-in-file",
    /// A graph in a node that is given nothing and gives nothing.
    SubgraphApart = "subgraph-apart",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
