/* SPDX-License-Identifier: BSD-2-Clause */
/* The rig of the kernel tests: a loopback connection whose ends can join a SOCKHASH, and a verdict that passes or
 * redirects as it is told. ends[0] mostly sends, ends[1] mostly receives. Header-only, one rig at a time. */
#ifndef SMACCEL_KERNEL_RIG_H
#define SMACCEL_KERNEL_RIG_H

#include "kernel_test.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kernel_test.skel.h"
#include "kernel_test_shared.h"
#include "loopback.h"

struct rig {
	struct kernel_test_bpf *skeleton;
	volatile struct kernel_test_control *control;
	int hash_fd;
	int ends[2];
	uint64_t cookie[2];
};

/* Loads the verdict; no connection yet. */
static inline void rig_load(struct rig *rig)
{
	void *page;

	*rig = (struct rig){ .ends = { -1, -1 } };
	rig->skeleton = kernel_test_bpf__open_and_load();
	require(rig->skeleton != NULL);
	rig->hash_fd = bpf_map__fd(rig->skeleton->maps.hash);
	require(bpf_prog_attach(bpf_program__fd(rig->skeleton->progs.kernel_test_verdict), rig->hash_fd,
				BPF_SK_MSG_VERDICT, 0) == 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(rig->skeleton->maps.control), 0);
	require(page != MAP_FAILED);
	rig->control = page;
}

static inline void rig_unload(struct rig *rig)
{
	munmap((void *)rig->control, 4096);
	kernel_test_bpf__destroy(rig->skeleton);
}

/* Puts `fd` in the hash under `key`. 0 or -errno. */
static inline int rig_insert(struct rig *rig, uint64_t key, int fd, uint64_t flags)
{
	uint64_t value = (uint64_t)fd;

	return bpf_map_update_elem(rig->hash_fd, &key, &value, flags) < 0 ? -errno : 0;
}

/* Joins one end; its messages go to the other one. 0 or -errno. */
static inline int rig_join(struct rig *rig, int end)
{
	require(bpf_map_update_elem(bpf_map__fd(rig->skeleton->maps.target), &rig->ends[end], &rig->cookie[!end],
				    BPF_ANY) == 0);
	return rig_insert(rig, rig->cookie[end], rig->ends[end], BPF_NOEXIST);
}

static inline int rig_leave(struct rig *rig, int end)
{
	return bpf_map_delete_elem(rig->hash_fd, &rig->cookie[end]) < 0 ? -errno : 0;
}

/* A fresh connection, not joined. */
static inline void rig_connect(struct rig *rig)
{
	rig->control->mode = KERNEL_TEST_PASS;
	rig->control->runs = rig->control->redirected = 0;
	require(loopback_pair_open(rig->ends) == 0);
	for (int i = 0; i < 2; i++) {
		rig->cookie[i] = loopback_cookie(rig->ends[i]);
		require(rig->cookie[i] != 0);
	}
}

/* A fresh connection, both ends joined. */
static inline void rig_connect_joined(struct rig *rig)
{
	rig_connect(rig);
	require(rig_join(rig, 0) == 0 && rig_join(rig, 1) == 0);
}

static inline void rig_close(struct rig *rig)
{
	loopback_pair_close(rig->ends);
}

static inline uint64_t tcp_bytes_received(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t bytes = sizeof(info);

	require(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
	return info.tcpi_bytes_received;
}

static inline unsigned tcp_state(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t bytes = sizeof(info);

	require(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
	return info.tcpi_state;
}

/* Sends `text` from end 0 to the other's psock queue. */
static inline void rig_redirect(struct rig *rig, const char *text)
{
	uint64_t before = rig->control->redirected;

	rig->control->mode = KERNEL_TEST_REDIRECT;
	require(sent(rig->ends[0], text));
	require(rig->control->redirected == before + 1);
}

/* Sends `text` from end 0 through TCP and waits until it lies in the other's TCP queue. */
static inline void rig_pass(struct rig *rig, const char *text)
{
	uint64_t wanted = tcp_bytes_received(rig->ends[1]) + strlen(text);

	rig->control->mode = KERNEL_TEST_PASS;
	require(sent(rig->ends[0], text));
	require(wait_until(tcp_bytes_received(rig->ends[1]) >= wanted, 2000));
}

/* ---- a thread that sleeps in one call ---- */

struct sleeper {
	pthread_t thread;
	int fd;
	size_t bytes;
	int flags;
	ssize_t result;
	int error;
	volatile pid_t tid;
	volatile bool done;
	char buffer[64];
};

static inline void *sleeper_main(void *argument)
{
	struct sleeper *self = argument;

	self->tid = (pid_t)syscall(SYS_gettid);
	self->result = recv(self->fd, self->buffer, self->bytes, self->flags);
	self->error = errno;
	__atomic_store_n(&self->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Whether the thread is asleep (in the only call it can sleep in). */
static inline bool thread_asleep(pid_t tid)
{
	char path[64], line[256] = "", *state;
	FILE *file;

	if (!tid)
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	file = fopen(path, "r");
	if (!file)
		return false;
	state = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return state && state[1] && state[2] == 'S';
}

/* Starts a thread in recv(fd, bytes, flags) and waits until it sleeps there. */
static inline void sleeper_start(struct sleeper *self, int fd, size_t bytes, int flags)
{
	*self = (struct sleeper){ .fd = fd, .bytes = bytes, .flags = flags };
	require(pthread_create(&self->thread, NULL, sleeper_main, self) == 0);
	require(wait_until(thread_asleep(self->tid), 2000));
}

static inline bool sleeper_returns_within(struct sleeper *self, int limit_ms)
{
	return wait_until(__atomic_load_n(&self->done, __ATOMIC_ACQUIRE), limit_ms);
}

static inline void sleeper_join(struct sleeper *self)
{
	require(pthread_join(self->thread, NULL) == 0);
}

#endif
