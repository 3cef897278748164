# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark's profiles: which part a function belongs to, and what the rows say."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

import profiles  # noqa: E402


@pytest.mark.parametrize("part, symbols", [
    ("sockhash, verdict", ["tcp_bpf_sendmsg", "sk_msg_recvmsg", "__sk_msg_recvmsg", "sk_psock_msg_verdict", "tcp_bpf_recvmsg_parser"]),
    ("TCP, IP", ["tcp_sendmsg_locked", "__tcp_transmit_skb", "ip_queue_xmit", "loopback_xmit", "release_sock", "net_rx_action"]),
    ("AF_UNIX", ["unix_stream_sendmsg", "unix_poll"]),
    ("copying", ["_copy_to_iter", "_copy_from_iter", "__check_object_size"]),
    ("sleeping, waking", ["finish_task_switch.isra.0", "try_to_wake_up", "__schedule", "ep_poll_callback", "sk_wait_data"]),
    ("system call", ["entry_SYSCALL_64", "do_syscall_64", "fdget", "__sys_sendto", "sock_write_iter"]),
    ("locks", ["_raw_spin_lock_bh", "__rcu_read_unlock", "native_queued_spin_lock_slowpath"]),
    ("memory, buffers", ["skb_release_data", "kmem_cache_free", "skb_page_frag_refill", "__memcg_slab_post_alloc_hook"]),
])
def test_functions_of_the_kernel(part, symbols):
    assert {symbol: profiles.part_of("[kernel.kallsyms]", f"[k] {symbol}") for symbol in symbols} == dict.fromkeys(symbols, part)


def test_other_code():
    assert profiles.part_of("bpf_prog_f592_smaccel_verdict", "[k] bpf_prog_f592_smaccel_verdict") == "sockhash, verdict"
    assert profiles.part_of("libsmaccel.so", "[.] recv") == "shim"
    assert profiles.part_of("libc.so.6", "[.] __send") == "libc"
    assert profiles.part_of("redis-server", "[.] lookupKey") == "application"
    assert profiles.part_of("[kernel.kallsyms]", "[k] nobody_knows") == "kernel, other"


def test_rows_are_times_of_an_operation():
    summary = {"arms": {"plain": {"cpu_ns": 1000}, "auto": {"cpu_ns": 500}},
               "profiles": {"plain": {"parts": {"libc": 0.1, "TCP, IP": 0.9}, "symbols": {"tcp_ack": 0.5, "a": 0.2}},
                            "auto": {"parts": {"libc": 0.2, "shim": 0.8}, "symbols": {"a": 0.4, "b": 0.1}}}}
    assert profiles.rows(summary, "parts") == [["TCP, IP", 900, 0], ["shim", 0, 400], ["libc", 100, 100]]
    assert profiles.symbols_that_differ(summary) == [["tcp_ack", 500, 0], ["b", 0, 50], ["a", 200, 200]]


def test_no_times_without_the_cpu_time_of_an_operation():
    assert profiles.rows({"arms": {"plain": {}}, "profiles": {"plain": {"parts": {"libc": 1.0}, "symbols": {}}}}, "parts") == []
    assert profiles.rows({"arms": {"plain": {"cpu_ns": 1}}}, "parts") == []
