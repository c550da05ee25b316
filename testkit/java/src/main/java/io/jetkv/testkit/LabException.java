package io.jetkv.testkit;

/** What the lab refused. */
public final class LabException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    private final int code;

    LabException(int code, String answer) {
        super(answer);
        this.code = code;
    }

    /** As HTTP has them. */
    public int code() {
        return code;
    }
}
