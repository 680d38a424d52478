/*
 * Starting tshark is registering its dissectors, which takes 0.15 s of processor time and is the same each time. Preloaded into
 * it, this makes a tshark that has done that wait at a Unix socket (LABCTL_FORKS) for whoever hands it three streams and a command
 * line, and go on with those in a process of its own.
 *
 * main() in tshark.c looks at its arguments twice: for a few before the dissectors are there, for all others once they are and
 * epan_load_settings() has read the preferences. There it waits; what is forked gets other arguments to look at.
 *
 * A caller sends one message: a command line of words with a null behind each, and with it (SCM_RIGHTS, unix(7)) standard
 * input, output and error. The answer is the exit status, or minus the signal that ended it, as a native int. When the caller
 * hangs up before that, the process is killed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STREAMS = 3, MOST_BYTES = 128 * 1024, NICE = 5, PATIENCE_S = 1 };

struct ws_option;

static char line[MOST_BYTES];
static char *words[MOST_BYTES + 1];
static int count;

static void close_all(const int streams[], size_t many)
{
    for (size_t i = 0; i < many; i++)
        close(streams[i]);
}

/* The message of a caller: its length, or 0 when it is none. */
static size_t receive(int caller, int streams[STREAMS])
{
    union { struct cmsghdr header; char space[CMSG_SPACE(STREAMS * sizeof(int))]; } control;
    struct iovec text = { line, sizeof line };
    struct msghdr message = { .msg_iov = &text, .msg_iovlen = 1, .msg_control = &control };
    struct timeval patience = { PATIENCE_S, 0 };

    message.msg_controllen = CMSG_LEN(STREAMS * sizeof(int)); /* not CMSG_SPACE, which has room for a fourth */
    setsockopt(caller, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ssize_t size = recvmsg(caller, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!rights || rights->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t given = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(streams, CMSG_DATA(rights), given * sizeof(int));
    if (given == STREAMS && !(message.msg_flags & MSG_TRUNC) && line[size - 1] == '\0')
        return (size_t)size;
    close_all(streams, given);
    return 0;
}

/* In a process of its own: wait for the end of the one that dissects, and tell the caller; end it when the caller has gone. */
static void guard(pid_t child, int caller, int ended)
{
    struct pollfd watched[] = { { caller, POLLRDHUP, 0 }, { ended, POLLIN, 0 } };
    int status = 0;

    while (poll(watched, 2, -1) < 0)
        ;
    if (!watched[1].revents)
        kill(child, SIGKILL);
    waitpid(child, &status, 0);
    int answer = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    send(caller, &answer, sizeof answer, MSG_NOSIGNAL);
    _exit(0);
}

/* Returns in a process that dissects, with its arguments in `words`, and in no other. */
static void serve(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    unlink(path);
    /* Who may come here is for the folder to say, which is the driver's own. */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || chmod(path, 0666) || listen(listener, 64))
        _exit(1);
    signal(SIGCHLD, SIG_IGN); /* the kernel takes away what has ended (sigaction(2)) */
    for (;;) {
        int caller = accept4(listener, NULL, NULL, SOCK_CLOEXEC), streams[STREAMS];
        if (caller < 0)
            continue;
        size_t size = receive(caller, streams);
        if (size && fork() == 0) {
            int alive[2];
            signal(SIGCHLD, SIG_DFL);
            close(listener);
            if (pipe(alive))
                _exit(1);
            pid_t child = fork();
            if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                close(caller);
                close(alive[0]); /* the other end stays open until this process is gone, however it goes */
                for (int i = 0; i < STREAMS; i++)
                    dup2(streams[i], i);
                close_all(streams, STREAMS);
                if (nice(NICE)) {} /* it reads while the scenario runs, and must not be in its way */
                for (char *word = line; word < line + size; word += strlen(word) + 1)
                    words[count++] = word;
                return;
            }
            close_all(streams, STREAMS);
            close(alive[1]);
            guard(child, caller, alive[0]);
        }
        if (size)
            close_all(streams, STREAMS);
        close(caller);
    }
}

void *epan_load_settings(void)
{
    void *(*real)(void) = (void *(*)(void))dlsym(RTLD_NEXT, "epan_load_settings");
    void *found = real();
    const char *path = getenv("LABCTL_FORKS");

    if (path)
        serve(path);
    return found;
}

/* What all of it is given back for is a process that goes on. */
void epan_cleanup(void)
{
    void (*real)(void) = (void (*)(void))dlsym(RTLD_NEXT, "epan_cleanup");

    if (!count)
        real();
}

int ws_getopt_long(int argc, char *const argv[], const char *letters, const struct ws_option *options, int *index)
{
    static int (*real)(int, char *const[], const char *, const struct ws_option *, int *);

    if (!real)
        real = (int (*)(int, char *const[], const char *, const struct ws_option *, int *))dlsym(RTLD_NEXT, "ws_getopt_long");
    return count ? real(count, words, letters, options, index) : real(argc, argv, letters, options, index);
}
