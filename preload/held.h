/* SPDX-License-Identifier: BSD-2-Clause */
/* The file of a call that sleeps, or is at work, between two system calls.
 *
 * TCP's send is one system call, which holds the file from beginning to end: another thread that closes the number, or has dup2 put
 * another file there, changes nothing for it. A send of the shim sleeps outside of system calls, too: until the reader has made
 * room (ledger_pace), between the parts of a call with SO_SNDTIMEO, and between the messages of sendmmsg. So does a receive that does not
 * sleep in recv: with MSG_WAITALL, as a second reader, after a wake-up without data, and between the messages of recvmmsg. So it notes
 * in its thread's slot which number it depends on. Who closes that number finds the note, and leaves a duplicate behind, with which
 * the call goes on, and which it closes at its end; where no number is free it gives up one of the shim's own for it. No duplicate
 * is ever made for a call that nobody closes the fd of.
 *
 * poll(2) of a number at which there is another file by now does not end for what comes to the one before it (do_pollfd() looks the number
 * up at each wake-up): a receive that notes looks again once a second.
 *
 * A signal handler ends that, as it makes TCP's call let go of the file: the call ends with what it has sent, or begins anew with
 * the number, and notes that again. So a handler that leaves by siglongjmp leaves nothing behind. Nor does a thread that ends, or is cancelled,
 * nor a child: it has no such thread, and closes the duplicate. (One of a raw fork, which no handler is told of, may keep one that
 * was made or closed at that very moment, until it ends or execs.)
 */
#ifndef SMACCEL_HELD_H
#define SMACCEL_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"
#include "threads.h"

struct held {
	struct conn *conn;
	uint32_t generation;
	int fd;
	bool noted; /* in the slot */
	bool own;   /* by this call, not by one around it */
};

/* The caller is in a call on the connection `generation` of conn, which fd named when it began. */
struct held held_begin(struct conn *conn, int fd, uint32_t generation);
/* The number by which its file can be reached now: fd, a duplicate, or -1. */
int held_file(const struct held *held);
/* The same, before a system call that may sleep: if it is fd, the note is taken off. */
int held_settle(struct held *held);
/* Around a system call on fd: who closes fd meanwhile waits for its end, so that the number is not another file's in it; of one that may
 * sleep not for long. held_file() is asked in between. */
enum held_call { HELD_CALL_OVER, HELD_CALL_BRIEF, HELD_CALL_MAY_SLEEP };
void held_calling(const struct held *held, enum held_call call);
/* Closes the duplicate if there is one. */
void held_end(struct held *held);

/* The table has forgotten that fd names the connection, and fd is about to be closed. */
void held_hand_over(struct conn *conn, int fd);
/* It was done with a blocking fd of it, while a thread was in a receive. Not of every connection that is known for long. */
bool held_was_asleep(const struct conn *conn, uint32_t generation);
/* How many references to the file the calls on the connection that go on by a duplicate may have, beside the one of a call: the
 * duplicate, and a second one of a ppoll() of two entries (transfer_wait.c). */
uint32_t held_references(const struct conn *conn);
/* The duplicates themselves, each once. */
uint32_t held_duplicates(const struct conn *conn);
/* The close that has handed them over is about to make the kernel's reset the connection. Who closes the last of them takes that back if the
 * bytes that were to be lost have been read. False: there is none. */
bool held_note_reset(const struct conn *conn);
/* The lowest duplicate from that number on; -1: none. The application is not to close it. */
int held_next_fd(int from);
/* Around a fork: the child gets the numbers first, and then the memory that says which of them are duplicates. What changes both waits. */
void held_before_fork(void);
void held_after_fork(void);
void held_forked(void);                   /* in the child */
void held_drop(struct thread_slot *slot); /* its thread ends */
static inline void held_handler_runs(void)
{
	if (__builtin_expect(thread_self && atomic_load_explicit(&thread_self->held, memory_order_relaxed), 0))
		held_drop(thread_self);
}

#endif
