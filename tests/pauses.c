/*
 * Makes a program wait before some of its writes, and keeps a record of how long it really waited.
 *
 * Preloaded (LD_PRELOAD) into a relay by tests/metrics_pauses.rs: what the relay says of itself can then be
 * compared with what was done to it, and the relay has no code for the test. A message is a `send` of PAUSE_LENGTH
 * bytes whose first one is PAUSE_FIRST, so that the messages of one direction can be told from all else;
 * every PAUSE_EVERY-th waits for PAUSE_NANOS before it is passed on.
 *
 * At the end PAUSE_FILE has a line for each message: nanoseconds waited, 0 for most. They are counted on one
 * thread: a relay of one worker.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 100000
/* A sleep may end so much too late; the rest is spun. */
#define SLACK 200000

static long long waited[MOST];
static size_t messages;

static long long setting(const char *name)
{
    const char *text = getenv(name);
    if (text == NULL) {
        fprintf(stderr, "pauses: %s is not set\n", name);
        abort();
    }
    return atoll(text);
}

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static long long wait_for(long long nanos)
{
    long long begun = now();
    long long until = begun + nanos - SLACK;
    struct timespec at = {until / 1000000000, until % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        ;
    long long over;
    while ((over = now()) < begun + nanos)
        ;
    return over - begun;
}

/* All settings are there from the start, or nothing starts. */
static long long nanos, every, length, first;

__attribute__((constructor)) static void begin(void)
{
    nanos = setting("PAUSE_NANOS");
    every = setting("PAUSE_EVERY");
    length = setting("PAUSE_LENGTH");
    first = setting("PAUSE_FIRST");
}

__attribute__((destructor)) static void end(void)
{
    FILE *file = fopen(getenv("PAUSE_FILE"), "w");
    if (file == NULL)
        return;
    for (size_t i = 0; i < messages; i++)
        fprintf(file, "%lld\n", waited[i]);
    fclose(file);
}

ssize_t send(int socket, const void *bytes, size_t size, int flags)
{
    if (size == (size_t)length && *(const unsigned char *)bytes == first && messages < MOST) {
        messages++;
        if (messages % every == 0)
            waited[messages - 1] = wait_for(nanos);
    }
    /* Not the libc's own, which this one hides: the call that it makes. */
    return syscall(SYS_sendto, socket, bytes, size, flags, NULL, 0);
}
