/*
 * dumpcap asks libpcap for a read timeout of 250 ms (CAP_READ_TIMEOUT in dumpcap.c) and has no option for it, so with
 * TPACKET_V3 a packet may wait that long in the kernel's ring before dumpcap sees it. Preloaded into dumpcap, this makes it
 * 50 ms: a capture is proven to record, and proven to be complete, that much sooner. Not less: a block of the ring is handed
 * over when its time is up however little is in it, so 64 blocks of 50 ms are what a busy machine may keep dumpcap waiting.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

typedef struct pcap pcap_t;

int pcap_set_timeout(pcap_t *capture, int timeout_ms)
{
    int (*real)(pcap_t *, int) = (int (*)(pcap_t *, int))dlsym(RTLD_NEXT, "pcap_set_timeout");

    return real(capture, timeout_ms < 50 ? timeout_ms : 50);
}
