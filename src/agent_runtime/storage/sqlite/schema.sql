CREATE TABLE runtime_schema_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT runtime_schema_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE IF NOT EXISTS execution_log_rollups (
	grain TEXT NOT NULL, 
	begins DATETIME NOT NULL, 
	scope_id TEXT NOT NULL, 
	agent_type TEXT NOT NULL, 
	execution_step TEXT NOT NULL, 
	status TEXT NOT NULL, 
	executions BIGINT NOT NULL, 
	timed BIGINT NOT NULL, 
	duration_ms BIGINT NOT NULL, 
	shortest_ms BIGINT, 
	longest_ms BIGINT, 
	CONSTRAINT execution_log_rollups_key PRIMARY KEY (grain, begins, scope_id, agent_type, execution_step, status)
);
CREATE TABLE IF NOT EXISTS execution_logs (
	id TEXT NOT NULL, 
	execution_id TEXT NOT NULL, 
	parent_id TEXT, 
	scope_id TEXT DEFAULT 'default' NOT NULL, 
	principal_id TEXT, 
	session_id TEXT, 
	agent_type TEXT NOT NULL, 
	execution_step TEXT NOT NULL, 
	action_type TEXT, 
	status TEXT DEFAULT 'started' NOT NULL, 
	start_time DATETIME NOT NULL, 
	end_time DATETIME, 
	duration_ms BIGINT, 
	input_data JSON, 
	output_data JSON, 
	error_message TEXT, 
	metadata JSON, 
	operation_id TEXT, 
	report_id TEXT, 
	completion_id TEXT, 
	widget_id TEXT, 
	step_id TEXT, 
	external_platform TEXT, 
	external_user_id TEXT, 
	last_seq BIGINT, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS execution_logs_by_scope ON execution_logs (scope_id, start_time, id);
CREATE INDEX IF NOT EXISTS execution_logs_by_time ON execution_logs (start_time, id);
CREATE INDEX IF NOT EXISTS execution_logs_of_execution ON execution_logs (execution_id, start_time);
CREATE INDEX IF NOT EXISTS execution_logs_of_operation ON execution_logs (operation_id);
CREATE INDEX IF NOT EXISTS execution_logs_of_principal ON execution_logs (principal_id);
CREATE INDEX IF NOT EXISTS execution_logs_of_report ON execution_logs (report_id, start_time);
CREATE TABLE IF NOT EXISTS latency_rollups (
	kind TEXT NOT NULL, 
	grouped_by TEXT NOT NULL, 
	day DATETIME NOT NULL, 
	scope_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	bucket INTEGER NOT NULL, 
	n BIGINT NOT NULL, 
	CONSTRAINT latency_rollups_key PRIMARY KEY (kind, grouped_by, day, scope_id, name, bucket)
);
CREATE TABLE IF NOT EXISTS llm_call_logs (
	id TEXT NOT NULL, 
	execution_log_id TEXT, 
	scope_id TEXT DEFAULT 'default' NOT NULL, 
	principal_id TEXT, 
	session_id TEXT, 
	agent TEXT DEFAULT '' NOT NULL, 
	provider TEXT NOT NULL, 
	model_id TEXT NOT NULL, 
	call_type TEXT DEFAULT 'inference' NOT NULL, 
	status TEXT DEFAULT 'started' NOT NULL, 
	start_time DATETIME NOT NULL, 
	end_time DATETIME, 
	duration_ms BIGINT, 
	first_token_ms BIGINT, 
	input_tokens BIGINT, 
	output_tokens BIGINT, 
	total_tokens BIGINT, 
	cached_tokens BIGINT, 
	reasoning_tokens BIGINT, 
	input_cost_units BIGINT, 
	input_cost NUMERIC(20, 10) GENERATED ALWAYS AS (input_cost_units / 10000000000.0) STORED, 
	output_cost_units BIGINT, 
	output_cost NUMERIC(20, 10) GENERATED ALWAYS AS (output_cost_units / 10000000000.0) STORED, 
	total_cost_units BIGINT, 
	total_cost NUMERIC(20, 10) GENERATED ALWAYS AS (total_cost_units / 10000000000.0) STORED, 
	saved_cost_units BIGINT, 
	saved_cost NUMERIC(20, 10) GENERATED ALWAYS AS (saved_cost_units / 10000000000.0) STORED, 
	price_source TEXT, 
	uncertain BOOLEAN DEFAULT false NOT NULL, 
	is_streaming BOOLEAN DEFAULT false NOT NULL, 
	chunks_count INTEGER, 
	job_id TEXT, 
	operation_id TEXT, 
	attempt INTEGER, 
	prompt TEXT, 
	request JSON, 
	response TEXT, 
	tool_calls JSON, 
	error_message TEXT, 
	metadata JSON, 
	report_id TEXT, 
	completion_id TEXT, 
	last_seq BIGINT, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS llm_call_logs_by_scope ON llm_call_logs (scope_id, start_time, id);
CREATE INDEX IF NOT EXISTS llm_call_logs_by_time ON llm_call_logs (start_time, id);
CREATE INDEX IF NOT EXISTS llm_call_logs_of_execution ON llm_call_logs (execution_log_id, start_time);
CREATE INDEX IF NOT EXISTS llm_call_logs_of_operation ON llm_call_logs (operation_id);
CREATE INDEX IF NOT EXISTS llm_call_logs_of_principal ON llm_call_logs (principal_id);
CREATE INDEX IF NOT EXISTS llm_call_logs_of_report ON llm_call_logs (report_id, start_time);
CREATE TABLE IF NOT EXISTS llm_call_rollups (
	grain TEXT NOT NULL, 
	begins DATETIME NOT NULL, 
	scope_id TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	model_id TEXT NOT NULL, 
	call_type TEXT NOT NULL, 
	status TEXT NOT NULL, 
	calls BIGINT NOT NULL, 
	timed BIGINT NOT NULL, 
	duration_ms BIGINT NOT NULL, 
	input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	cached_tokens BIGINT NOT NULL, 
	reasoning_tokens BIGINT NOT NULL, 
	cost_units BIGINT NOT NULL, 
	saved_units BIGINT NOT NULL, 
	unpriced BIGINT NOT NULL, 
	uncertain BIGINT NOT NULL, 
	CONSTRAINT llm_call_rollups_key PRIMARY KEY (grain, begins, scope_id, agent, provider, model_id, call_type, status)
);
CREATE TABLE IF NOT EXISTS log_settings (
	name TEXT NOT NULL, 
	value JSON NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE runtime_action_tokens (
	token_hash TEXT NOT NULL, 
	action_id TEXT NOT NULL, 
	approver TEXT, 
	PRIMARY KEY (token_hash)
);
CREATE INDEX runtime_action_tokens_of_action ON runtime_action_tokens (action_id);
CREATE TABLE runtime_actions (
	action_id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	job_id TEXT, 
	scope_id TEXT NOT NULL, 
	operation_id TEXT, 
	argument_hash TEXT, 
	payload TEXT NOT NULL, 
	status TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	resolved_at BIGINT, 
	resolved_by TEXT, 
	resolution TEXT, 
	default_resolution TEXT, 
	approvers TEXT, 
	quorum INTEGER NOT NULL, 
	votes TEXT NOT NULL, 
	argument_schema TEXT, 
	metadata TEXT NOT NULL, 
	token_hash TEXT, 
	PRIMARY KEY (action_id)
);
CREATE INDEX runtime_actions_by_scope ON runtime_actions (scope_id, action_id);
CREATE INDEX runtime_actions_of_job ON runtime_actions (job_id, status);
CREATE INDEX runtime_actions_pending ON runtime_actions (action_id) WHERE status = 'pending';
CREATE TABLE runtime_agent_events (
	scope_id TEXT NOT NULL, 
	seq BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	agent_id TEXT, 
	priority INTEGER NOT NULL, 
	data TEXT NOT NULL, 
	content BLOB, 
	delivered BIGINT, 
	CONSTRAINT runtime_agent_events_key PRIMARY KEY (scope_id, seq)
);
CREATE INDEX runtime_agent_events_by_time ON runtime_agent_events (at);
CREATE INDEX runtime_agent_events_dead ON runtime_agent_events (scope_id, seq) WHERE type = 'event' AND delivered = 0;
CREATE INDEX runtime_agent_events_undelivered ON runtime_agent_events (at, scope_id, seq) WHERE type = 'event' AND delivered IS NULL;
CREATE TABLE runtime_agent_memory (
	scope_id TEXT NOT NULL, 
	agent_id TEXT NOT NULL, 
	content BLOB NOT NULL, 
	CONSTRAINT runtime_agent_memory_key PRIMARY KEY (scope_id, agent_id)
);
CREATE TABLE runtime_agent_messages (
	message_id TEXT NOT NULL, 
	scope_id TEXT NOT NULL, 
	mailbox TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	status TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	sender TEXT, 
	name TEXT, 
	dedupe_key TEXT, 
	thread_id TEXT, 
	reply_to TEXT, 
	mail_status TEXT, 
	sent_at BIGINT NOT NULL, 
	not_before BIGINT NOT NULL, 
	expires_at BIGINT, 
	attempts INTEGER NOT NULL, 
	job_id TEXT, 
	claimed_at BIGINT, 
	ended_at BIGINT, 
	error TEXT, 
	content BLOB, 
	result BLOB, 
	CONSTRAINT runtime_agent_messages_key PRIMARY KEY (scope_id, message_id)
);
CREATE INDEX runtime_agent_messages_by_mailbox ON runtime_agent_messages (scope_id, mailbox, sent_at, message_id);
CREATE INDEX runtime_agent_messages_by_scope ON runtime_agent_messages (scope_id, sent_at, message_id);
CREATE INDEX runtime_agent_messages_by_thread ON runtime_agent_messages (scope_id, thread_id, sent_at, message_id) WHERE thread_id IS NOT NULL;
CREATE INDEX runtime_agent_messages_claimed ON runtime_agent_messages (scope_id, mailbox, position) WHERE status = 'claimed';
CREATE INDEX runtime_agent_messages_dead ON runtime_agent_messages (scope_id, sent_at, message_id) WHERE status = 'dead';
CREATE INDEX runtime_agent_messages_ended ON runtime_agent_messages (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runtime_agent_messages_expiring ON runtime_agent_messages (scope_id, mailbox, expires_at) WHERE status = 'waiting' AND expires_at IS NOT NULL;
CREATE UNIQUE INDEX runtime_agent_messages_in_order ON runtime_agent_messages (scope_id, mailbox, position);
CREATE UNIQUE INDEX runtime_agent_messages_known ON runtime_agent_messages (scope_id, mailbox, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX runtime_agent_messages_later ON runtime_agent_messages (scope_id, mailbox, not_before) WHERE status = 'waiting';
CREATE INDEX runtime_agent_messages_ready ON runtime_agent_messages (scope_id, mailbox, priority DESC, position) WHERE status = 'waiting';
CREATE TABLE runtime_agent_scopes (
	scope_id TEXT NOT NULL, 
	last_seq BIGINT NOT NULL, 
	PRIMARY KEY (scope_id)
);
CREATE TABLE runtime_agent_subscriptions (
	scope_id TEXT NOT NULL, 
	pattern TEXT NOT NULL, 
	agent_id TEXT NOT NULL, 
	CONSTRAINT runtime_agent_subscriptions_key PRIMARY KEY (scope_id, pattern, agent_id)
);
CREATE INDEX runtime_agent_subscriptions_by_agent ON runtime_agent_subscriptions (scope_id, agent_id);
CREATE TABLE runtime_agents (
	scope_id TEXT NOT NULL, 
	agent_id TEXT NOT NULL, 
	revision BIGINT NOT NULL, 
	definition TEXT NOT NULL, 
	config TEXT NOT NULL, 
	principal_id TEXT, 
	state TEXT NOT NULL, 
	reason TEXT, 
	sleep TEXT, 
	wake_load FLOAT, 
	listens_to TEXT NOT NULL, 
	look_at BIGINT, 
	holder TEXT, 
	queued BIGINT NOT NULL, 
	running BIGINT NOT NULL, 
	turns BIGINT NOT NULL, 
	errors BIGINT NOT NULL, 
	failures BIGINT NOT NULL, 
	broken_until BIGINT, 
	woken BIGINT NOT NULL, 
	woken_on TEXT, 
	last_active BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by TEXT, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT runtime_agents_key PRIMARY KEY (scope_id, agent_id)
);
CREATE INDEX runtime_agents_by_load ON runtime_agents (wake_load) WHERE wake_load IS NOT NULL;
CREATE INDEX runtime_agents_due ON runtime_agents (look_at) WHERE look_at IS NOT NULL;
CREATE TABLE runtime_api_keys (
	key_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	role TEXT NOT NULL, 
	scope_id TEXT, 
	principal_id TEXT, 
	created_at BIGINT NOT NULL, 
	created_by TEXT, 
	expires_at BIGINT, 
	revoked_at BIGINT, 
	last_used_at BIGINT, 
	replaced_by TEXT, 
	secret_hash TEXT NOT NULL, 
	PRIMARY KEY (key_id)
);
CREATE INDEX runtime_api_keys_by_scope ON runtime_api_keys (scope_id, key_id);
CREATE TABLE runtime_audit (
	scope_id TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	job_id TEXT, 
	seq BIGINT, 
	head BLOB, 
	data TEXT NOT NULL, 
	link BLOB NOT NULL, 
	gone_at BIGINT, 
	CONSTRAINT runtime_audit_key PRIMARY KEY (scope_id, number)
);
CREATE UNIQUE INDEX runtime_audit_of_job ON runtime_audit (job_id) WHERE job_id IS NOT NULL;
CREATE TABLE runtime_budget_counters (
	budget_id TEXT NOT NULL, 
	window TEXT NOT NULL, 
	settled_tokens BIGINT DEFAULT 0 NOT NULL, 
	settled_cost BIGINT DEFAULT 0 NOT NULL, 
	settled_requests BIGINT DEFAULT 0 NOT NULL, 
	settled_tool_calls BIGINT DEFAULT 0 NOT NULL, 
	settled_turns BIGINT DEFAULT 0 NOT NULL, 
	reserved_tokens BIGINT DEFAULT 0 NOT NULL, 
	reserved_cost BIGINT DEFAULT 0 NOT NULL, 
	reserved_requests BIGINT DEFAULT 0 NOT NULL, 
	reserved_tool_calls BIGINT DEFAULT 0 NOT NULL, 
	reserved_turns BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT runtime_budget_counters_key PRIMARY KEY (budget_id, window)
);
CREATE TABLE runtime_budgets (
	budget_id TEXT NOT NULL, 
	scope_id TEXT, 
	limits TEXT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (budget_id)
);
CREATE TABLE runtime_cursors (
	name TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	holder TEXT, 
	held_until BIGINT, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE runtime_events (
	id INTEGER NOT NULL, 
	job_id TEXT NOT NULL, 
	seq BIGINT NOT NULL, 
	commit_id TEXT, 
	type TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	operation_id TEXT, 
	data TEXT NOT NULL, 
	content BLOB, 
	link BLOB, 
	data_digest BLOB, 
	content_digest BLOB, 
	PRIMARY KEY (id), 
	CONSTRAINT runtime_events_place UNIQUE (job_id, seq)
);
CREATE UNIQUE INDEX runtime_events_commit ON runtime_events (commit_id) WHERE commit_id IS NOT NULL;
CREATE TABLE runtime_fires (
	scope_id TEXT NOT NULL, 
	schedule_id TEXT NOT NULL, 
	due_at BIGINT NOT NULL, 
	last_due_at BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT, 
	decided_at BIGINT, 
	started_id TEXT, 
	CONSTRAINT runtime_fires_key PRIMARY KEY (scope_id, schedule_id, due_at)
);
CREATE INDEX runtime_fires_decided ON runtime_fires (decided_at);
CREATE INDEX runtime_fires_open ON runtime_fires (scope_id, schedule_id, due_at) WHERE outcome IN ('pending', 'firing');
CREATE TABLE runtime_inboxes (
	scope_id TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	last_position BIGINT NOT NULL, 
	unclaimed BIGINT NOT NULL, 
	CONSTRAINT runtime_inboxes_key PRIMARY KEY (scope_id, identity)
);
CREATE INDEX runtime_inboxes_with_mail ON runtime_inboxes (scope_id, identity) WHERE unclaimed > 0;
CREATE TABLE runtime_jobs (
	job_id TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	seed TEXT NOT NULL, 
	chain_id TEXT NOT NULL, 
	predecessor_id TEXT, 
	successor_id TEXT, 
	scope_id TEXT NOT NULL, 
	principal_id TEXT, 
	session_id TEXT, 
	run_id TEXT, 
	identity TEXT, 
	parent_job_id TEXT, 
	parent_operation_id TEXT, 
	on_parent_end TEXT NOT NULL, 
	idempotency_key TEXT, 
	request_hash TEXT, 
	operator TEXT, 
	queue TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	depth INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	started_at BIGINT, 
	completed_at BIGINT, 
	deadline BIGINT, 
	progress FLOAT NOT NULL, 
	budgets TEXT, 
	inherited_budgets TEXT, 
	policy_ref TEXT, 
	retry TEXT, 
	versions TEXT, 
	metadata TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	result_ref TEXT, 
	error TEXT, 
	error_code TEXT, 
	fence BIGINT NOT NULL, 
	owner TEXT, 
	last_seq BIGINT NOT NULL, 
	deaths INTEGER NOT NULL, 
	lone_deaths INTEGER NOT NULL, 
	open_claim INTEGER NOT NULL, 
	failed_versions TEXT, 
	retry_at BIGINT, 
	content_pruned_at BIGINT, 
	erased_at BIGINT, 
	audit_head BLOB NOT NULL, 
	audit_salt BLOB NOT NULL, 
	PRIMARY KEY (job_id)
);
CREATE INDEX runtime_jobs_blocked ON runtime_jobs (job_id) WHERE status = 'blocked';
CREATE INDEX runtime_jobs_by_scope ON runtime_jobs (scope_id, job_id);
CREATE INDEX runtime_jobs_chain ON runtime_jobs (chain_id, successor_id) WHERE predecessor_id IS NOT NULL;
CREATE INDEX runtime_jobs_children ON runtime_jobs (parent_job_id) WHERE parent_job_id IS NOT NULL;
CREATE INDEX runtime_jobs_ended ON runtime_jobs (completed_at) WHERE completed_at IS NOT NULL;
CREATE UNIQUE INDEX runtime_jobs_key ON runtime_jobs (scope_id, idempotency_key) WHERE idempotency_key IS NOT NULL AND successor_id IS NULL;
CREATE INDEX runtime_jobs_lines ON runtime_jobs (operator, queue, job_id) WHERE owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running');
CREATE INDEX runtime_jobs_owned ON runtime_jobs (owner, scope_id) WHERE owner IS NOT NULL;
CREATE INDEX runtime_jobs_ready ON runtime_jobs (scope_id, priority DESC, job_id) WHERE owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running');
CREATE INDEX runtime_jobs_with_content ON runtime_jobs (completed_at) WHERE completed_at IS NOT NULL AND content_pruned_at IS NULL;
CREATE TABLE runtime_ledger (
	id INTEGER NOT NULL, 
	event_id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	job_id TEXT, 
	scope_id TEXT NOT NULL, 
	principal_id TEXT, 
	session_id TEXT, 
	run_id TEXT, 
	agent TEXT, 
	provider TEXT, 
	model TEXT, 
	tool_name TEXT, 
	input_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	cached_tokens BIGINT NOT NULL, 
	cache_write_tokens BIGINT NOT NULL, 
	reasoning_tokens BIGINT NOT NULL, 
	cost_units BIGINT, 
	price_source TEXT, 
	status TEXT NOT NULL, 
	uncertain BOOLEAN NOT NULL, 
	duration_ms BIGINT, 
	timestamp BIGINT NOT NULL, 
	metadata TEXT NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT runtime_ledger_once UNIQUE (event_id, scope_id)
);
CREATE INDEX runtime_ledger_by_scope ON runtime_ledger (scope_id, timestamp);
CREATE INDEX runtime_ledger_corrections ON runtime_ledger (timestamp) WHERE status = 'adjusted';
CREATE INDEX runtime_ledger_of_job ON runtime_ledger (job_id);
CREATE TABLE runtime_messages (
	message_id TEXT NOT NULL, 
	scope_id TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	priority INTEGER NOT NULL, 
	dedupe_key TEXT, 
	sent_at BIGINT NOT NULL, 
	claimed_by TEXT, 
	claimed_at BIGINT, 
	content BLOB, 
	PRIMARY KEY (message_id), 
	CONSTRAINT runtime_messages_place UNIQUE (scope_id, identity, position)
);
CREATE INDEX runtime_messages_claimed ON runtime_messages (claimed_at) WHERE claimed_at IS NOT NULL;
CREATE INDEX runtime_messages_next ON runtime_messages (scope_id, identity, priority DESC, position) WHERE claimed_by IS NULL;
CREATE UNIQUE INDEX runtime_messages_once ON runtime_messages (scope_id, identity, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE TABLE runtime_operators (
	queue TEXT NOT NULL, 
	operator TEXT NOT NULL, 
	listed_at BIGINT NOT NULL, 
	CONSTRAINT runtime_operators_key PRIMARY KEY (queue, operator)
);
CREATE TABLE runtime_policies (
	name TEXT NOT NULL, 
	version TEXT NOT NULL, 
	document TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT runtime_policies_key PRIMARY KEY (name, version)
);
CREATE TABLE runtime_receivers (
	id INTEGER NOT NULL, 
	job_id TEXT NOT NULL, 
	operation_id TEXT NOT NULL, 
	scope_id TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT runtime_receivers_once UNIQUE (job_id, operation_id)
);
CREATE INDEX runtime_receivers_of_inbox ON runtime_receivers (scope_id, identity, id);
CREATE TABLE runtime_schedules (
	scope_id TEXT NOT NULL, 
	schedule_id TEXT NOT NULL, 
	revision BIGINT NOT NULL, 
	timing TEXT NOT NULL, 
	rules TEXT NOT NULL, 
	principal_id TEXT, 
	check_name TEXT, 
	content BLOB NOT NULL, 
	next_due BIGINT, 
	look_at BIGINT, 
	holder TEXT, 
	last_id TEXT, 
	paused_at BIGINT, 
	created_at BIGINT NOT NULL, 
	created_by TEXT, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT runtime_schedules_key PRIMARY KEY (scope_id, schedule_id)
);
CREATE INDEX runtime_schedules_due ON runtime_schedules (look_at) WHERE look_at IS NOT NULL;
CREATE TABLE runtime_signals (
	id INTEGER NOT NULL, 
	signal_id TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	operation_id TEXT, 
	data TEXT NOT NULL, 
	content BLOB, 
	is_failure BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT runtime_signals_once UNIQUE (job_id, signal_id)
);
CREATE INDEX runtime_signals_answers ON runtime_signals (job_id, operation_id);
CREATE INDEX runtime_signals_failed ON runtime_signals (job_id, operation_id) WHERE is_failure;
CREATE TABLE runtime_timers (
	job_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	due_at BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	operation_id TEXT, 
	data TEXT NOT NULL, 
	CONSTRAINT runtime_timers_key PRIMARY KEY (job_id, "key")
);
CREATE INDEX runtime_timers_due ON runtime_timers (due_at);
CREATE INDEX runtime_timers_of_budgets ON runtime_timers (due_at) WHERE key = 'budget';
CREATE TABLE runtime_waits (
	job_id TEXT NOT NULL, 
	set_number INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	operation_id TEXT NOT NULL, 
	ends_with_failure BOOLEAN NOT NULL, 
	CONSTRAINT runtime_waits_key PRIMARY KEY (job_id, set_number, position)
);
CREATE TABLE runtime_workers (
	worker_id TEXT NOT NULL, 
	queues TEXT NOT NULL, 
	operators TEXT NOT NULL, 
	started_at BIGINT NOT NULL, 
	heartbeat_at BIGINT NOT NULL, 
	info TEXT NOT NULL, 
	PRIMARY KEY (worker_id)
);
CREATE VIEW runtime_woken AS
SELECT j.job_id FROM runtime_jobs j
WHERE j.owner IS NULL AND j.operator IS NOT NULL AND j.status IN ('waiting_action', 'sleeping', 'waiting', 'blocked')
  AND EXISTS (SELECT 1 FROM runtime_signals s WHERE s.job_id = j.job_id)
  AND (
    (SELECT 1 FROM runtime_waits w WHERE w.job_id = j.job_id LIMIT 1) IS NULL
    OR (SELECT 1 FROM runtime_signals s WHERE s.job_id = j.job_id AND s.operation_id IS NULL LIMIT 1) IS NOT NULL
    OR (
      SELECT 1 FROM runtime_signals s JOIN runtime_waits w ON w.job_id = s.job_id AND w.operation_id = s.operation_id
      WHERE s.job_id = j.job_id AND s.is_failure AND w.ends_with_failure LIMIT 1
    ) IS NOT NULL
    OR (
      SELECT 1 FROM runtime_waits f WHERE f.job_id = j.job_id AND f.position = 0 AND NOT EXISTS (
        SELECT 1 FROM runtime_waits w WHERE w.job_id = f.job_id AND w.set_number = f.set_number AND NOT EXISTS (
          SELECT 1 FROM runtime_signals s WHERE s.job_id = w.job_id AND s.operation_id = w.operation_id
        )
      ) LIMIT 1
    ) IS NOT NULL
  )
UNION ALL
SELECT j.job_id FROM runtime_receivers m
JOIN runtime_inboxes n ON n.scope_id = m.scope_id AND n.identity = m.identity JOIN runtime_jobs j ON j.job_id = m.job_id
WHERE n.unclaimed > 0
  AND j.owner IS NULL AND j.operator IS NOT NULL AND j.status IN ('waiting_action', 'sleeping', 'waiting')
  AND EXISTS (
    SELECT 1 FROM runtime_waits f
    WHERE f.job_id = m.job_id AND f.operation_id = m.operation_id AND n.unclaimed > 0 AND NOT EXISTS (
      SELECT 1 FROM runtime_waits w WHERE w.job_id = f.job_id AND w.set_number = f.set_number AND NOT EXISTS (
        SELECT 1 FROM runtime_signals s WHERE s.job_id = w.job_id AND s.operation_id = w.operation_id
      ) AND NOT EXISTS (
        SELECT 1 FROM runtime_receivers r JOIN runtime_inboxes i ON i.scope_id = r.scope_id AND i.identity = r.identity
        WHERE r.job_id = w.job_id AND r.operation_id = w.operation_id AND i.unclaimed > 0
      )
    )
  );
