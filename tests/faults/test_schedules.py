"""The schedules that would break a naive runtime, which the kernel's tests play in memory, on SQLite and on Postgres too.

`tests/README.md` lists them. A test is played again with another storage in the place of memory; on Postgres that brings the shared queue along.
"""

import importlib.util
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent_runtime import RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support import kernels
from support.kernels import BOUND

pytestmark = pytest.mark.timeout(BOUND * 3)
TESTS = Path(__file__).parents[1]
FOLDERS = (TESTS / "unit" / "agent_runtime" / "kernel", TESTS / "security")
PLAYED = {
    "test_values": (
        "test_a_result_that_a_person_tells_is_checked_against_the_steps_type_and_asked_for_again",
        "test_numbers_that_json_has_no_word_for_are_refused_everywhere",
    ),
    "test_long_numbers": ("test_a_paid_amount_is_what_was_asked_and_approved_to_the_last_digit",),
    "test_recorded_tools": (
        "test_a_server_whose_tools_change_breaks_no_replay",
        "test_lists_of_several_servers_are_asked_for_at_once_and_recalled",
        "test_what_a_tool_gave_is_recalled_when_it_is_gone",
        "test_a_call_that_was_refused_is_not_made_by_a_replay_that_knows_its_tool",
        "test_images_are_recalled_as_images_and_written_once",
    ),
    "test_server_tools": (
        "test_a_tool_that_needs_a_yes_is_asked_about_before_anything_goes_out",
        "test_what_a_stream_tells_of_a_search_is_heard_again_after_a_crash",
    ),
    "test_exits": ("test_a_step_that_ends_the_process_has_failed_and_the_job_beside_it_goes_on",),
    "test_public_texts": (
        "test_a_failure_of_a_step_is_known_whatever_its_text_is",
        "test_a_job_that_fails_with_any_text_ends_and_its_parent_goes_on",
        "test_names_events_progress_and_results_tell_no_secret_and_a_resume_knows_the_names_again",
    ),
    "test_ownership": (
        "test_an_approval_for_a_job_inside_a_paid_call_neither_loses_nor_repeats_the_call",
        "test_a_resolution_that_arrives_while_the_job_suspends_wakes_it",
        "test_a_second_resolver_in_another_kernel_is_refused_and_the_first_answer_counts",
    ),
    "test_effects": (
        "test_a_deploy_that_had_its_approval_and_began_is_unknown_after_a_crash",
        "test_a_timed_out_unsafe_tool_is_unknown_not_failed",
        "test_cancelling_a_job_inside_an_unsafe_tool_leaves_a_question_that_outlives_it",
        "test_a_cancelled_model_call_is_billed_at_its_maximum_and_marked",
        "test_time_in_a_durable_wait_counts_against_no_time_out_and_no_slot",
        "test_a_result_that_cannot_be_encoded_is_finished_and_not_run_again",
    ),
    "test_approvals": (
        "test_one_approver_alone_cannot_edit_what_another_has_approved",
        "test_a_clerk_who_edits_beyond_what_clerks_may_approve_has_asked_the_boss",
        "test_whoever_says_to_be_the_boss_where_nobody_is_named_has_asked_the_boss",
        "test_an_edited_call_that_had_all_its_approvals_runs_once_after_a_resume",
        "test_one_question_serves_the_tools_author_and_the_policy",
        "test_a_decision_about_other_arguments_is_not_recalled",
        "test_what_became_of_an_approved_effect_is_said_by_those_who_had_to_approve_it",
        "test_a_result_that_the_step_cannot_have_returned_is_asked_for_again",
        "test_a_tool_whose_own_question_nobody_answers_has_failed_and_the_model_reads_it",
    ),
    "test_changed_questions": (
        "test_a_yes_to_one_tools_call_runs_no_other_tool",
        "test_an_answer_is_for_the_question_that_was_asked_and_another_stops_the_job",
        "test_a_retry_of_a_lost_step_does_what_those_who_wanted_it_were_shown",
    ),
    "test_repeated_calls": (
        "test_what_became_of_a_call_is_asked_with_what_it_was_made_with_and_retry_makes_that",
        "test_a_question_that_outlives_its_job_shows_what_was_under_way_and_a_retry_makes_that",
        "test_only_the_call_that_was_made_has_its_key_when_it_is_done_anew",
        "test_what_became_of_a_lost_call_is_asked_by_a_retry_from_before_it",
        "test_what_people_have_said_of_it_since_is_not_asked_again_unless_it_happened",
        "test_a_tool_is_asked_about_a_call_under_the_name_that_the_call_had",
        "test_before_an_edited_call_is_repeated_somebody_is_asked_about_what_was_made",
        "test_a_call_that_happened_is_asked_about_by_the_retry_that_comes_to_it",
        "test_what_a_retry_did_under_a_name_of_its_own_is_recalled_by_the_next",
    ),
    "test_determinism": (
        "test_a_plain_asyncio_gather_is_refused_at_the_first_run_and_names_the_remedy",
        "test_branches_that_interleave_are_recognised_after_a_crash",
        "test_changed_code_parks_a_job_and_the_old_code_finishes_it",
        "test_an_edited_prompt_warns_and_keeps_the_recorded_answer",
        "test_endless_work_continues_as_new_and_its_journal_stays_short",
    ),
    "test_execution": ("test_a_time_comes_back_as_it_was_recorded",),
    "test_clock": ("test_a_clock_that_is_set_back_takes_nothing_in_a_job_back",),
    "test_journal_format": (
        "test_every_journal_begins_with_its_format",
        "test_a_job_of_a_newer_format_is_blocked_with_the_reason_and_left_as_it_is",
    ),
    "test_families_and_waits": (
        "test_a_crash_around_a_childs_end_neither_loses_nor_repeats_it",
        "test_what_a_child_gave_is_referred_to_and_not_copied",
        "test_a_retried_parent_still_gets_what_its_child_gave_long_ago",
        "test_cancelling_a_parent_cancels_its_children",
        "test_calls_of_two_jobs_with_one_idempotency_key_never_join",
        "test_recall_precedes_everything_so_a_resume_logs_nothing_twice",
    ),
    "test_budgets": (
        "test_a_denied_call_is_never_made_nor_retried_nor_counted_by_the_breaker",
        "test_waiting_for_a_reservation_holds_no_slot_and_ends_when_it_is_given_back",
        "test_a_bill_above_the_upper_bound_is_recorded_as_it_is_and_ends_the_spending",
        "test_a_call_lost_in_a_crash_is_settled_at_its_maximum_in_every_budget",
    ),
    "test_blocked": (
        "test_who_waits_on_gets_the_result_of_the_mended_job",
        "test_a_blocked_child_keeps_its_parent_waiting",
    ),
    "test_outages": (
        "test_an_outage_that_leaves_the_operator_is_waited_out",
        "test_a_retry_knows_the_last_of_a_step_that_an_outage_had_failed_before",
        "test_a_job_that_waits_is_waiting_and_says_until_when",
        "test_an_effect_that_followed_the_failure_forbids_to_do_it_anew",
    ),
    "test_retries": (
        "test_what_failed_is_done_anew_and_what_succeeded_is_recalled",
        "test_a_job_has_one_successor_and_a_second_retry_gives_the_living_head",
        "test_the_key_of_a_failed_job_starts_it_again_when_it_is_asked_to",
        "test_branches_that_a_failure_ended_are_taken_up_again",
        "test_a_child_that_failed_is_retried_itself_and_one_that_succeeded_is_recalled",
        "test_a_question_about_a_lost_effect_moves_to_the_successor",
        "test_before_an_unsafe_effect_is_repeated_somebody_is_asked",
        "test_a_child_that_nobody_had_waited_for_yet_is_retried_where_it_was_started",
        "test_a_child_is_not_retried_where_a_person_has_now_said_something_else",
        "test_a_model_that_is_asked_anew_gets_no_results_of_its_earlier_calls",
    ),
    "test_refused_jobs": (
        "test_a_job_that_was_refused_is_refused_again_when_it_is_retried",
        "test_a_job_that_nobody_has_approved_is_asked_about_again_when_it_is_retried",
        "test_what_was_spent_counts_for_a_job_that_is_retried",
        "test_what_was_spent_counts_for_a_job_that_goes_on_as_another_one",
    ),
    "test_identity": (
        "test_links_of_a_chain_have_names_of_their_own_and_share_the_chain",
        "test_a_pruned_first_link_leads_to_the_living_one",
    ),
    "test_blocking_calls": (
        "test_a_blocking_call_in_a_step_is_the_jobs_own",
        "test_a_blocking_call_in_a_tool_is_the_jobs_own",
    ),
    "test_counted_runs": (
        "test_a_resumed_run_counts_the_tool_calls_before_the_interruption",
        "test_a_tool_goes_on_in_the_attempt_in_which_it_stood_still",
    ),
    "test_left_streams": (
        "test_a_stream_that_is_left_ends_before_the_next_step",
        "test_an_effect_in_flight_is_finished_when_the_reader_leaves_and_nothing_follows_it",
        "test_a_run_that_was_left_between_two_turns_does_not_ask_when_it_is_followed_again",
    ),
    "test_frontier": (
        "test_a_branch_that_was_stopped_by_anothers_failure_stays_stopped_on_every_resume",
        "test_a_crash_while_a_sibling_of_a_failed_branch_works_lets_it_begin_nothing_more",
        "test_two_branches_may_wait_for_one_answer",
        "test_questions_timers_and_children_of_a_stopped_branch_are_withdrawn",
    ),
    "test_leaving": (
        "test_a_suspension_is_no_cancellation_and_no_failure",
        "test_a_crash_in_the_middle_of_clean_up_repeats_nothing_of_it",
    ),
    "test_timeouts": (
        "test_a_bound_goes_on_while_the_job_is_out_of_the_memory",
        "test_a_bound_that_cut_off_an_effect_while_its_end_was_written_is_passed_in_every_run",
        "test_a_model_call_that_is_cut_off_before_its_intent_is_written_gives_back_nothing",
    ),
    "test_after_the_journal": (
        "test_a_crash_takes_nothing_back_that_others_have_been_told",
        "test_the_jobs_own_kernel_accepts_nothing_that_a_crash_would_take_back",
        "test_a_run_that_loses_its_fence_while_a_call_waits_is_cancelled_there",
        "test_a_signal_is_folded_after_what_the_job_holds_back",
        "test_what_may_be_repeated_is_seen_before_it_is_written",
    ),
    "test_waits_as_values": (
        "test_one_answer_among_many_children_does_not_end_the_set",
        "test_the_end_of_a_child_that_nobody_waits_for_yet_wakes_nobody",
        "test_a_failing_child_wakes_a_set_that_waits_for_all",
        "test_wait_all_ends_with_the_first_failure_and_withdraws_the_rest",
        "test_what_was_won_is_won_again_by_a_run_that_leaves_the_memory_as_soon_as_it_can",
        "test_a_failing_branch_is_seen_before_the_others_waits_let_the_job_leave_the_memory",
    ),
    "test_messages": (
        "test_messages_are_received_in_the_order_of_their_sending_before_and_after_the_wait",
        "test_a_received_message_is_recalled_and_not_received_again",
        "test_a_crash_around_a_receive_neither_loses_nor_repeats_a_message",
        "test_a_message_that_is_sent_while_its_receiver_is_being_suspended_wakes_it",
        "test_of_many_who_wait_for_one_identity_each_message_reaches_one",
        "test_a_wait_that_another_one_beats_takes_no_message",
        "test_of_two_messages_that_are_there_the_first_wait_takes_one_and_the_other_stays",
        "test_a_message_reaches_a_branch_while_another_one_is_at_work",
        "test_what_was_received_for_waits_whose_time_is_up_goes_back",
        "test_a_branch_that_a_failure_ends_takes_nothing_and_a_gathered_message_goes_back",
        "test_what_was_received_before_a_crash_goes_back_when_time_is_up_before_the_code_comes_to_it",
        "test_a_job_that_ends_or_is_cancelled_takes_no_message_any_more",
        "test_a_chain_goes_on_where_its_last_link_stopped_under_one_identity",
        "test_a_retry_recalls_what_was_received_and_gives_back_what_it_does_anew",
    ),
    "test_news_and_timers": ("test_a_job_that_is_cancelled_while_it_continues_as_new_does_not_go_on",),
}


class SQLiteSchedule(SQLiteStorage):
    """Lets tests use functions made inside functions: the process that knows them does not end."""

    is_durable = False


class PostgresSchedule(PostgresStorage):
    """Likewise."""

    is_durable = False


def load(name: str) -> ModuleType:
    """Import a module of tests under a name of its own, so that its storage can be replaced."""
    (path,) = (folder / f"{name}.py" for folder in FOLDERS if (folder / f"{name}.py").exists())
    spec = importlib.util.spec_from_file_location(f"played_again_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variants(function: Any) -> Iterator[dict[str, Any]]:
    """Yield the arguments that a test is parametrised with; two of them are enough here."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        yield {}
    for mark in marks:
        assert isinstance(mark.args[0], str)
        yield from ({mark.args[0]: value} for value in mark.args[1][:2])


MODULES = {name: load(name) for name in PLAYED}
CASES = [
    pytest.param(getattr(MODULES[module], test), arguments, id=test.removeprefix("test_"))
    for module, tests in PLAYED.items()
    for test in tests
    for arguments in variants(getattr(MODULES[module], test))
]


@pytest.fixture(params=["sqlite", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """The address of a Postgres database, or nothing for SQLite."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("database"))


@pytest.fixture
async def played_there(
    dsn: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Put another storage in the place of memory."""
    opened: list[Any] = []
    in_memory = kernels.kernel

    def storage() -> Any:
        opened.append(
            SQLiteSchedule(tmp_path / f"{len(opened)}.db", durability="process")
            if dsn is None
            else PostgresSchedule(dsn)
        )
        return opened[-1]

    def kernel(given: Any = None, **options: Any) -> RuntimeKernel:
        return in_memory(storage() if given is None else given, **options)

    for module in MODULES.values():
        for name, replacement in (("MemoryStorage", storage), ("kernel", kernel)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, replacement)
    yield
    for each in opened:
        await each.aclose()


@pytest.mark.parametrize(("test", "arguments"), CASES)
async def test_the_schedule_harms_no_storage(
    test: Any, arguments: dict[str, Any], played_there: None, request: pytest.FixtureRequest
) -> None:
    wanted = set(inspect.signature(test).parameters) - set(arguments)
    await test(**arguments, **{name: request.getfixturevalue(name) for name in wanted})


def test_the_list_of_schedules_names_tests_that_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (TESTS / "README.md").read_text(encoding="utf-8"))
    assert len(named) > 50
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not re.search(rf"def {test}\b", (TESTS.parent / path).read_text(encoding="utf-8"))
    ]
    assert not missing
    played = {test for tests in PLAYED.values() for test in tests}
    assert played <= {test for _, test in named}
