# SPDX-License-Identifier: BSD-2-Clause
"""Where the CPU time of an operation goes, arm by arm: samples of the workload's processes, sorted into parts.

A profile says shares. Times come from the rounds, which no sampling has slowed down: share x CPU time of an operation. Beside them
stands for how long the workload's CPUs were idle: on two cores that is most of a round trip. CPUs are sampled, not processes, whose
events would have to be set up anew at each context switch.
"""
import collections
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from arms import Failed  # and the way to support

from support.program import descendants

HERTZ = 4999
RUNS = 2            # of each arm
SECONDS_LEAST = 1   # of such a run: its beginning is to be a small part of it
SAMPLES_LEAST = 500
SYMBOLS_SHOWN = 12
SHARE_KEPT = 0.001  # of a symbol: what has less is in its part only
# The first that matches names the part; of the symbols of the kernel.
KERNEL_PARTS = [(part, re.compile(f"^(?:{pattern})")) for part, pattern in [
    ("sockhash, verdict", r"bpf_prog_|__?bpf_|bpf_|tcp_bpf|tcp_eat_recv|sk_msg|sk_psock|sock_map|sock_hash|__sk_msg|__htab|htab_"),
    ("AF_UNIX", r"_*unix_|sock_alloc_send_p?skb|skb_queue_|skb_copy_datagram|__skb_datagram|skb_recv|scm_|_*wait_for_unix"),
    ("copying", r"_?_?_?copy_(?:to|from|user|page)|_copy_|rep_movs|memcpy|__memcpy|__pi_mem|mem(?:set|move)|__check_object|check_stack|__virt_addr"
                r"|check_heap|simple_copy|skb_copy|__skb_copy|csum_"),
    ("sleeping, waking", r"_*schedule|finish_task_switch|.*try_to_wake|.*ttwu|(?:en|de)queue_|.*_entity|pick_|__pick|update_(?:curr|load|rq|cfs|min|se)|select_task"
                         r"|__switch|switch_|prepare_to_wait|finish_wait|.*wake|add_wait|remove_wait|set_next|put_prev|reweight|place_|avg_vruntime"
                         r"|sched_|sk_wait|wait_woken|check_preempt|resched|native_s(?:end|mp)|.*reschedule|.*_ipi|ep_|do_epoll|.*_poll|poll_|do_sys_poll|do_poll"
                         r"|.*hrtimer|.*select_idle|available_idle|cpuacct|cgroup_account|psi_|call_function|llist|flush_smp|yield|dl_|.*idle|rb_|native_write_msr"
                         r"|.*cpu_clock|nohz|tick_|kick_|raw_spin_rq|.*timerqueue|futex|mm_cid|.*membarrier|vruntime|entity_|task_|cpus_share|.*perf|ctx_"),
    ("system call", r"entry_|syscall_|do_syscall|__x64_sys|x64_sys|__?sys_|_*sys_|fdget|fput|fget|sockfd|ksys|vfs_|new_sync|sock_(?:read|write|send|recv|aio)|security_"
                    r"|apparmor|import_|rw_verify|fsnotify|__fsnotify|irqentry|exit_to|asm_|error_|__rseq|rseq|do_(?:read|write)v?|__get_user|iovec|move_addr"
                    r"|____?sys|_*sock_(?:send|recv)|inet_(?:send|recv)msg|sock_common|file_|touch_atime|common_interrupt|ret_from|.*_audit|fpregs|restore_"),
    ("TCP, IP", r"_*tcp_|_*ip_|ip6|ipv[46]_|_*inet6?_|net_rx|loopback|_*dev_|_*netif|process_backlog|_*napi|neigh|qdisc|bbr|cubic|_*sk_|_*sock_|sock|lock_sock|release_sock"
                r"|minmax|fib_|nf_|_*qdisc|eth_|validate_xmit|enqueue_to_backlog|.*softirq|do_softirq|_*local_bh|_*netdev|dst_|rt_|ktime|read_tsc|.*timer|pfifo"
                r"|.*timestamp|route|fou|raw_|siphash|secure_tcp|csk|reqsk|netlink|getnstime|.*_rtt|.*mstamp|pvclock|kvm_clock"),
    ("locks", r"_raw_|.*spin|mutex|_*rcu|native_queued|.*_lock|.*unlock|down_|up_|lockref|preempt|__local"),
    ("memory, buffers", r"_*skb|_*alloc_skb|.*_skb|kmem|_*kmalloc|_*kfree|_*slab|.*slab|.*_page|page_|.*alloc|mem_cgroup|.*memcg|_*mod_|refill|try_charge|.*stock|free_|put_|get_|obj_|.*charge|clear_|list_|__list|lru"
               r"|folio|.*fault|.*mmap|unmap|.*pte|mas_|anon_|zap|find_vma|.*_cache|___slab"),
]]


def part_of(dso, symbol):
    if symbol.startswith("[k]") or dso.startswith("[k"):
        name = symbol[4:].strip()
        return "sockhash, verdict" if dso.startswith("bpf") else next((part for part, is_it in KERNEL_PARTS if is_it.match(name)), "kernel, other")
    if dso.startswith("bpf_prog"):
        return "sockhash, verdict"
    if "libsmaccel" in dso:
        return "shim"
    return "libc" if re.match(r"(libc|ld-linux|libpthread|\[vdso)", dso) else "application"


def missing():
    return "" if shutil.which("perf") else "no perf (Debian: linux-perf)"


@contextlib.contextmanager
def sampled(path):
    """Samples all CPUs until the end of the block."""
    with subprocess.Popen(["perf", "record", "-q", "-a", "-e", "cpu-clock", "-F", str(HERTZ), "-o", str(path)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as perf:
        try:
            for _ in range(100):
                time.sleep(0.02)
                if (path.exists() and path.stat().st_size) or perf.poll() is not None:
                    break
            time.sleep(0.1)
            if perf.poll() is not None:
                raise Failed(f"perf record: {perf.stderr.read().strip()[-300:]}")
            yield
        finally:
            if perf.poll() is None:
                perf.send_signal(signal.SIGINT)
            try:
                perf.wait(20)
            except subprocess.TimeoutExpired:
                perf.kill()


def perf_lines(*arguments):
    return subprocess.run(["perf", *arguments], capture_output=True, text=True, timeout=120, check=False).stdout.splitlines()


def family(path, processes):
    """The processes, as strings, and what they started while it was sampled."""
    found = {str(pid) for pid in processes}
    for line in perf_lines("script", "-i", str(path), "--show-task-events", "-F", "comm,pid"):
        fork = re.search(r"PERF_RECORD_FORK\((\d+):\d+\):\((\d+):\d+\)", line)
        if fork and fork[2] in found:
            found.add(fork[1])
    return found


def samples_of(path, processes, cpus):
    """{(dso, symbol): number} of the processes and theirs, but for this one; and the number of samples in which one of the CPUs (-1: any)
    was idle."""
    found, idle = collections.Counter(), 0
    own = family(path, processes) - {str(os.getpid())}
    for line in perf_lines("report", "-i", str(path), "--no-children", "-g", "none", "-F", "sample,cpu,pid,dso,sym", "-t", "\t"):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 5 or not fields[0].isdigit():
            continue
        pid = fields[2].split(":")[0]
        if pid == "0" and (min(cpus) < 0 or int(fields[1]) in cpus):
            idle += int(fields[0])
        elif pid in own:
            found[fields[3], fields[4]] += int(fields[0])
    return found, idle


def profile_arm(session, name, seconds, folder):
    """{"samples": number, "parts": {part: share}, "symbols": {symbol: share}} of one arm. The part "idle" is no share of the CPU time,
    but goes by the same measure."""
    found, idle = collections.Counter(), 0
    for number in range(RUNS):
        path = Path(folder) / f"{name}-{number}"
        processes = [pid for pid in descendants(os.getpid()) if pid != session.treatment.helper.pid]
        with sampled(path):
            session.round([name], max(seconds, SECONDS_LEAST))
        here, idle_here = samples_of(path, processes, session.workload.cpus)
        found.update(here)
        idle += idle_here
    total = sum(found.values())
    if total < SAMPLES_LEAST:
        raise Failed(f"{total} samples are no profile ({name})")
    parts, symbols = collections.Counter(), collections.Counter()
    for (dso, symbol), count in found.items():
        parts[part_of(dso, symbol)] += count / total
        symbols[f"{symbol[4:]} ({dso})" if symbol.startswith("[.]") else symbol[4:]] += count / total
    parts["idle"] = idle / total
    return {"samples": total, "parts": dict(parts.most_common()), "symbols": {s: n for s, n in symbols.most_common() if n >= SHARE_KEPT}}


def take(session, arms, seconds):
    """{arm: its profile}. The session's servers are sampled from their middle, so this comes after its rounds."""
    with tempfile.TemporaryDirectory(prefix="smaccel-profile-") as folder:
        return {name: profile_arm(session, name, seconds, folder) for name in arms}


def rows(summary, kind, least=0.0):
    """[[what, ns in each arm...]] of "parts" or "symbols", the largest first; none where CPU times are not known."""
    arms = {name: (summary["arms"][name].get("cpu_ns"), profile[kind]) for name, profile in summary.get("profiles", {}).items()}
    if not arms or not all(cpu for cpu, _ in arms.values()):
        return []
    ns = {what: [cpu * shares.get(what, 0.0) for cpu, shares in arms.values()] for _, shares in arms.values() for what in shares}
    order = sorted(ns, key=lambda what: -max(ns[what]))
    return [[what, *ns[what]] for what in order if max(ns[what]) > least]


def symbols_that_differ(summary):
    """The rows of the symbols in which some arm differs most from the first."""
    return sorted(rows(summary, "symbols"), key=lambda row: -max(abs(value - row[1]) for value in row[2:] or [row[1]]))[:SYMBOLS_SHOWN]
