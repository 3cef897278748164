/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions: from HELLO to hang-up.
 *
 * A session is the far end of a socketpair that a process sent through the door, with the credentials that the kernel
 * attached to that message. It ends when the process (and every child that inherited the near end) is gone, or when it
 * breaks the protocol. Its offers are forgotten then; ends that had joined live on without an owner, for as long as their
 * sockets do.
 *
 * The memory is the helper's memfd, sealed so that nobody can shrink it under us, and written by the client at will. The
 * helper reads words and stores answers; no index, length or pointer is ever taken from it.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utlist.h>

#include "helper.h"
#include "ledger.h"
#include "log.h"
#include "pairing.h"
#include "policy.h"
#include "sockfacts.h"
#include "wire/wire.h"

/* Threads of one process woken by one answer. */
#define WAKE_MAX 1024
#define STATUS_TRIES 16
/* A session may own 65535 ends: they are let go a share at a time, and others are served in between. */
#define DISSOLVE_ENDS 512
#define DISSOLVE_NS (500 * LOOP_NS_PER_US)

struct sessions {
	struct helper *helper;
	struct session *table;
	struct session *dissolving; /* closed; some of their ends are still registered */
	struct loop_timer dissolve;
	uint64_t last_id;
	struct session_spin past_spin;
};

/* ---- cells ---- */

static void wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, WAKE_MAX, NULL, NULL, 0); /* not PRIVATE: the waiter is another process */
}

/* Whether the client has ever written to that page. Asked by SEEK_DATA, as a look at the page itself would make it. */
static bool page_touched(struct session *session, uint64_t page)
{
	off_t offset = (off_t)(page * SESSION_PAGE_BYTES);

	if (session->touched[page / 8] & 1u << page % 8)
		return true;
	if (lseek(session->memory_fd, offset, SEEK_DATA) != offset)
		return false;
	session->touched[page / 8] |= 1u << page % 8;
	return true;
}

struct memory_cell *session_cell(struct session *session, uint32_t index)
{
	uint64_t offset;

	if (index == 0 || index >= MEMORY_CELLS)
		return NULL;
	offset = sizeof(struct session_memory) + (uint64_t)index * sizeof(struct memory_cell);
	if (!page_touched(session, offset / SESSION_PAGE_BYTES) ||
	    !page_touched(session, (offset + sizeof(struct memory_cell) - 1) / SESSION_PAGE_BYTES))
		return NULL;
	return &session->memory->cells[index];
}

void session_status_change(struct session *session, uint32_t index, uint32_t generation, uint32_t clear, uint32_t set)
{
	struct memory_cell *cell = session_cell(session, index);
	uint32_t status, changed;

	if (!cell)
		return;
	/* The shim only ever lowers bits it has seen. A client that does more than that must not hold us up. */
	status = atomic_load(&cell->status);
	for (int i = 0; i < STATUS_TRIES; i++) {
		changed = cell_word_generation(status) == generation ? status : cell_word(generation, 0);
		changed = (changed & ~clear) | set;
		if (atomic_compare_exchange_strong(&cell->status, &status, changed))
			return;
	}
}

void session_status_wake(struct session *session, uint32_t index)
{
	struct memory_cell *cell = session_cell(session, index);

	if (cell)
		wake(&cell->status);
}

bool session_word_pending(const struct memory_cell *cell, uint32_t generation)
{
	return atomic_load_explicit(&((struct memory_cell *)cell)->word, memory_order_acquire) ==
	       cell_word(generation, CELL_PENDING);
}

bool session_word_settle(struct memory_cell *cell, uint32_t generation, uint32_t state, enum sm_reason reason)
{
	uint32_t pending = cell_word(generation, CELL_PENDING);

	if (state == CELL_REFUSED)
		cell->reason = reason;
	return atomic_compare_exchange_strong(&cell->word, &pending, cell_word(generation, state));
}

void session_word_wake(struct memory_cell *cell)
{
	wake(&cell->word);
}

bool session_word_answer(struct memory_cell *cell, uint32_t generation, uint32_t state, enum sm_reason reason)
{
	bool won = session_word_settle(cell, generation, state, reason);

	if (won)
		session_word_wake(cell);
	return won;
}

void session_word_clear(struct memory_cell *cell, uint32_t generation)
{
	uint32_t abandoned = cell_word(generation, CELL_ABANDONED);

	if (atomic_compare_exchange_strong(&cell->word, &abandoned, cell_word(generation, CELL_IDLE)))
		session_word_wake(cell);
}

void session_fd_closed(struct sessions *sessions, const struct reaper_tag *tag)
{
	struct session *session = session_find(sessions, tag->session_id);
	struct memory_cell *cell = session ? session_cell(session, tag->cell) : NULL;

	if (!cell || cell_word_generation(atomic_load(&cell->status)) != tag->generation)
		return;
	session_status_change(session, tag->cell, tag->generation, CELL_HELD, 0);
	session_word_clear(cell, tag->generation);
}

/* ---- the table ---- */

static void session_release(struct loop_corpse *corpse)
{
	struct session *session = loop_container(corpse, struct session, channel.corpse);

	munmap(session->memory, MEMORY_BYTES); /* not sooner: callers up the stack may hold one of its cells */
	close(session->memory_fd);
	free(session);
}

/* A share of the ends is let go, at most `count`. True if none is left and the session is no more. */
static bool session_dissolve(struct session *session, uint32_t count)
{
	struct helper *helper = session->channel.helper;

	if (!pairing_session_closed(helper, session, count))
		return false;
	session_spin_add(session, &helper->sessions->past_spin);
	HASH_DEL(helper->sessions->table, session);
	ledger_session_closed(helper->ledgers, session->id);
	policy_give(helper->policy, session->channel.uid, POLICY_SESSIONS);
	loop_bury(helper->loop, &session->channel.corpse);
	return true;
}

static void session_close(struct channel *channel)
{
	struct session *session = session_of(channel);
	struct sessions *sessions = channel->helper->sessions;

	log_debug("session %llu (pid %u) ends", (unsigned long long)session->id, session->pid);
	loop_remove(channel->helper->loop, &channel->source);
	reaper_close_socket(channel->helper->reaper, channel->source.fd);
	if (session_dissolve(session, DISSOLVE_ENDS))
		return;
	DL_APPEND(sessions->dissolving, session);
	loop_timer_set(channel->helper->loop, &sessions->dissolve, loop_now_ns() + DISSOLVE_NS);
}

static void dissolve_expired(struct loop_timer *timer)
{
	struct sessions *sessions = loop_container(timer, struct sessions, dissolve);
	struct session *session = sessions->dissolving;

	DL_DELETE(sessions->dissolving, session);
	if (!session_dissolve(session, DISSOLVE_ENDS))
		DL_APPEND(sessions->dissolving, session);
	if (sessions->dissolving)
		loop_timer_set(sessions->helper->loop, timer, loop_now_ns() + DISSOLVE_NS);
}

struct sessions *sessions_new(struct helper *helper)
{
	struct sessions *sessions = calloc(1, sizeof(*sessions));

	if (!sessions)
		return NULL;
	sessions->helper = helper;
	loop_timer_add(helper->loop, &sessions->dissolve, dissolve_expired);
	return sessions;
}

void sessions_close_uid(struct sessions *sessions, uint32_t uid)
{
	struct session *session, *next;

	HASH_ITER (hh, sessions->table, session, next)
		if (session->channel.uid == uid && channel_is_open(&session->channel))
			session_close(&session->channel);
}

void sessions_free(struct sessions *sessions)
{
	struct session *session, *next;

	if (!sessions)
		return;
	HASH_ITER (hh, sessions->table, session, next) {
		if (channel_is_open(&session->channel))
			session_close(&session->channel);
	}
	while (sessions->dissolving)
		dissolve_expired(&sessions->dissolve);
	free(sessions);
}

void sessions_set_off(struct sessions *sessions, bool off)
{
	struct session *session, *next;

	HASH_ITER (hh, sessions->table, session, next)
		atomic_store(&session->memory->off, off);
}

void sessions_each(struct sessions *sessions, void (*visit)(struct session *session, void *context), void *context)
{
	struct session *session, *next;

	HASH_ITER (hh, sessions->table, session, next)
		visit(session, context);
}

struct session_spin sessions_past_spin(const struct sessions *sessions)
{
	return sessions->past_spin;
}

void session_spin_add(const struct session *session, struct session_spin *sum)
{
	sum->ns += atomic_load_explicit(&session->memory->spin_ns, memory_order_relaxed);
	sum->count += atomic_load_explicit(&session->memory->spins, memory_order_relaxed);
	sum->hits += atomic_load_explicit(&session->memory->spin_hits, memory_order_relaxed);
}

uint32_t sessions_count(const struct sessions *sessions)
{
	return HASH_COUNT(sessions->table);
}

struct session *session_find(struct sessions *sessions, uint64_t id)
{
	struct session *session;

	HASH_FIND(hh, sessions->table, &id, sizeof(id), session);
	return session;
}

struct session *session_of(struct channel *channel)
{
	return loop_container(channel, struct session, channel);
}

/* ---- HELLO ---- */

static int memory_make(struct session *session, struct helper *helper)
{
	int fd = memfd_create("smaccel-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, MEMORY_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		goto out_errno;
	session->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (session->memory == MAP_FAILED)
		goto out_errno;
	session->memory_fd = fd;
	session->memory->magic = MEMORY_MAGIC;
	session->memory->version = WIRE_VERSION;
	session->memory->helper_generation = helper->switches->helper_generation;
	session->memory->cell_count = MEMORY_CELLS;
	atomic_store(&session->memory->off, helper->switches->off);
	return 0;
out_errno:
	error = -errno;
	close(fd);
	return error;
}

static int send_welcome(struct session *session, struct helper *helper)
{
	struct wire_welcome welcome = {
		.helper_generation = helper->switches->helper_generation,
		.features = helper->features | WIRE_FEATURE_WITHDRAW,
		.cell_count = MEMORY_CELLS,
		.memory_bytes = MEMORY_BYTES,
	};

	wire_header_init(&welcome.header, WIRE_WELCOME, sizeof(welcome), 0, 0);
	return wire_send(session->channel.source.fd, &welcome, sizeof(welcome), session->memory_fd);
}

static int session_open(struct helper *helper, struct request *request)
{
	struct session *session = calloc(1, sizeof(*session));
	int error;

	if (!session)
		return -ENOMEM;
	session->id = ++helper->sessions->last_id;
	session->pid = request->creds.pid;
	memcpy(session->comm, request->message.hello.comm, sizeof(request->message.hello.comm));
	session->channel.source.fd = request->fd;
	session->channel.source.ready = dispatch_ready;
	session->channel.corpse.release = session_release;
	session->channel.helper = helper;
	session->channel.state = CHANNEL_SESSION;
	session->channel.uid = request->creds.uid;
	session->channel.close = session_close;
	error = memory_make(session, helper);
	if (error)
		goto out_free;
	HASH_ADD(hh, helper->sessions->table, id, sizeof(session->id), session);
	error = session->lost ? -ENOMEM : send_welcome(session, helper);
	if (!error)
		error = loop_add(helper->loop, &session->channel.source, EPOLLIN);
	if (error)
		goto out_memory;
	log_debug("session %llu: pid %u, uid %u (%.16s)", (unsigned long long)session->id, session->pid,
		  session->channel.uid, session->comm);
	request->fd = -1;
	return 0;
out_memory:
	if (!session->lost)
		HASH_DEL(helper->sessions->table, session);
	munmap(session->memory, MEMORY_BYTES);
	close(session->memory_fd);
out_free:
	free(session);
	return error;
}

int session_handle_hello(struct request *request)
{
	struct helper *helper = request->helper;
	int error;

	if (request->creds.uid == (uid_t)-1 || !sockfacts_is_channel(request->fd)) {
		helper->refusals[REASON_BAD_REQUEST]++;
		return -EPROTO;
	}
	error = policy_take(helper->policy, request->creds.uid, POLICY_SESSIONS);
	if (error) {
		helper->refusals[REASON_TABLE_FULL]++;
		return 0; /* the fd is closed, which the process sees as the answer */
	}
	error = session_open(helper, request);
	if (error) {
		log_debug("no session for pid %d: %s", request->creds.pid, strerror(-error));
		policy_give(helper->policy, request->creds.uid, POLICY_SESSIONS);
		if (error != -EPIPE && error != -ECONNRESET) /* else it is gone already */
			helper->refusals[REASON_INTERNAL]++;
	}
	return 0;
}

int session_handle_ping(struct request *request)
{
	_Atomic uint32_t *pong = &request->session->memory->pong;

	atomic_store(pong, request->message.ping.nonce);
	wake(pong);
	return 0;
}
