/*
 * dumpcap waits in three places for a time that is compiled in and has no option; preloaded into it, this shortens each.
 *
 * pcap_set_timeout: with TPACKET_V3 a packet may wait 250 ms (CAP_READ_TIMEOUT in dumpcap.c) in the kernel's ring before dumpcap
 * sees it. 50 ms here: a capture is proven to record, and proven to be complete, that much sooner. Not less: a block of the
 * ring is handed over when its time is up however little is in it, so 32 blocks of 50 ms are what a busy machine may keep
 * dumpcap waiting.
 * select: a thread for each interface looks that often whether it is to stop (capture_loop_dispatch).
 * g_async_queue_timeout_pop_unlocked: so does the thread that writes, twice (WRITER_THREAD_TIMEOUT, 100 ms).
 * The last two only decide how soon it stops; they cost an idle dumpcap some 100 wake-ups a second.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/select.h>

enum { READ_MS = 50, STOP_MS = 20 };

typedef struct pcap pcap_t;
typedef struct _GAsyncQueue GAsyncQueue;

int pcap_set_timeout(pcap_t *capture, int timeout_ms)
{
    int (*real)(pcap_t *, int) = (int (*)(pcap_t *, int))dlsym(RTLD_NEXT, "pcap_set_timeout");

    return real(capture, timeout_ms < READ_MS ? timeout_ms : READ_MS);
}

int select(int count, fd_set *readable, fd_set *writable, fd_set *exceptional, struct timeval *timeout)
{
    static int (*real)(int, fd_set *, fd_set *, fd_set *, struct timeval *);

    if (!real)
        real = (int (*)(int, fd_set *, fd_set *, fd_set *, struct timeval *))dlsym(RTLD_NEXT, "select");
    if (timeout && (timeout->tv_sec > 0 || timeout->tv_usec > STOP_MS * 1000)) {
        timeout->tv_sec = 0;
        timeout->tv_usec = STOP_MS * 1000;
    }
    return real(count, readable, writable, exceptional, timeout);
}

void *g_async_queue_timeout_pop_unlocked(GAsyncQueue *queue, unsigned long timeout_us)
{
    static void *(*real)(GAsyncQueue *, unsigned long);

    if (!real)
        real = (void *(*)(GAsyncQueue *, unsigned long))dlsym(RTLD_NEXT, "g_async_queue_timeout_pop_unlocked");
    return real(queue, timeout_us < STOP_MS * 1000 ? timeout_us : STOP_MS * 1000);
}
