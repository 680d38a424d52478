/*
 * dumpcap asks libpcap for a read timeout of 250 ms (CAP_READ_TIMEOUT in dumpcap.c) and has no option for it, so with
 * TPACKET_V3 a packet may wait that long in the kernel's ring before dumpcap sees it. Preloaded into dumpcap, this makes it
 * 10 ms: a capture is proven to record, and proven to be complete, that much sooner.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

typedef struct pcap pcap_t;

int pcap_set_timeout(pcap_t *capture, int timeout_ms)
{
    int (*real)(pcap_t *, int) = (int (*)(pcap_t *, int))dlsym(RTLD_NEXT, "pcap_set_timeout");

    return real(capture, timeout_ms < 10 ? timeout_ms : 10);
}
