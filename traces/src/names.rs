//! Names of spans' attributes: OpenTelemetry's (GenAI 1.42, messaging, HTTP), those that well-known viewers read beside
//! them, and ours. Values that name a person, a prompt or an answer are in none of them.

pub const ERROR_TYPE: &str = "error.type";

pub const OPERATION: &str = "gen_ai.operation.name";
pub const WORKFLOW: &str = "gen_ai.workflow.name";
pub const CONVERSATION: &str = "gen_ai.conversation.id";
pub const AGENT: &str = "gen_ai.agent.name";
pub const PROVIDER: &str = "gen_ai.provider.name";
/// The provider's older name, which LangSmith reads.
pub const SYSTEM: &str = "gen_ai.system";
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
pub const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub const CACHE_WRITE_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";

/// What a span is to viewers that speak OpenInference: CHAIN, AGENT, LLM.
pub const OPENINFERENCE_KIND: &str = "openinference.span.kind";
/// The graph as Phoenix draws it.
pub const GRAPH_NODE: &str = "graph.node.id";

pub const MESSAGING_SYSTEM: &str = "messaging.system";
pub const MESSAGING_OPERATION: &str = "messaging.operation.name";
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub const DESTINATION: &str = "messaging.destination.name";
pub const PARTITION: &str = "messaging.destination.partition.id";
pub const CONSUMER_GROUP: &str = "messaging.consumer.group.name";
pub const OFFSET: &str = "messaging.kafka.offset";

pub const HTTP_METHOD: &str = "http.request.method";
pub const HTTP_ROUTE: &str = "http.route";
pub const HTTP_STATUS: &str = "http.response.status_code";
pub const SERVER_ADDRESS: &str = "server.address";
pub const SERVER_PORT: &str = "server.port";

pub const RUN: &str = "millstream.run.id";
pub const REQUEST: &str = "millstream.request.id";
pub const GRAPH: &str = "millstream.graph.name";
pub const GRAPH_HASH: &str = "millstream.graph.hash";
pub const TENANT: &str = "millstream.tenant";
pub const NODE: &str = "millstream.node.name";
pub const TASK: &str = "millstream.task.id";
pub const ISSUE: &str = "millstream.task.issue";
pub const ATTEMPT: &str = "millstream.task.attempt";
pub const STEP: &str = "millstream.step";
/// The alias that a node names, the one that it led to, and what decided that.
pub const ROUTE_ALIAS: &str = "millstream.route.alias";
pub const ROUTE_TIER: &str = "millstream.route.tier";
pub const ROUTE_BY: &str = "millstream.route.by";
pub const CALL: &str = "millstream.call.id";
/// `reported`, `estimated` or `missing`.
pub const USAGE_SOURCE: &str = "millstream.usage.source";
pub const STATUS: &str = "millstream.run.status";
